"""Judges are trained once, kept, and made again where a file is damaged."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from dcgmm.generation import classifier
from dcgmm.generation.classifier import Judge, train_judge
from dcgmm.judges import judge_of
from tests.conftest import uniform

IMAGES = uniform(120, 8, 8, 1).float()
LABELS = torch.arange(120) % 3


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dcgmm" / "judges"


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Judge]:
    """The judges that are trained, in few steps."""
    made: list[Judge] = []

    def counted(*arguments: Any) -> Judge:
        made.append(train_judge(*arguments))
        return made[-1]

    monkeypatch.setattr(classifier, "LEAST_STEPS", 8)
    monkeypatch.setattr("dcgmm.judges.train_judge", counted)
    return made


def test_a_judge_is_trained_once(cache: Path, trainings: list[Judge]) -> None:
    steps: list[int] = []
    first = judge_of("some", IMAGES, LABELS, report=lambda done, total: steps.append(done))
    again = judge_of("some", IMAGES, LABELS)
    assert len(trainings) == 1
    assert len(steps) == 8
    assert torch.equal(first.features(IMAGES), again.features(IMAGES))
    assert again.labels.tolist() == [0, 1, 2]
    (kept,) = cache.iterdir()
    assert kept.name.startswith("some-")
    assert kept.suffix == ".pt"


def test_other_data_and_seeds_have_judges_of_their_own(cache: Path, trainings: list[Judge]) -> None:
    darker = IMAGES.clone()
    darker[5, 2, 2] = 0
    for images, labels, seed in (
        (IMAGES, LABELS, 0),
        (darker, LABELS, 0),
        (IMAGES, LABELS // 2, 0),
        (IMAGES, LABELS, 1),
    ):
        judge_of("some", images, labels, seed=seed)
    assert len({judge.digest for judge in trainings}) == len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("damage", ["bytes", "empty", "missing", "shape", "nan", "labels"])
def test_what_is_damaged_is_made_again(
    cache: Path, trainings: list[Judge], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = judge_of("some", IMAGES, LABELS)
    (kept,) = cache.iterdir()
    state = torch.load(kept, weights_only=True)
    if damage in ("bytes", "empty"):
        kept.write_bytes(kept.read_bytes()[: 1000 if damage == "bytes" else 0])
    else:
        if damage == "missing":
            del state["weights"]["hidden"]
        elif damage == "shape":
            state["weights"]["output"] = state["weights"]["output"][:2]
        elif damage == "nan":
            state["weights"]["output"][0, 0] = float("nan")
        else:
            state["labels"] = state["labels"] + 1
        torch.save(state, kept)
    with caplog.at_level(logging.WARNING):
        again = judge_of("some", IMAGES, LABELS)
    assert f"{kept} is damaged: it is made again" in caplog.text
    assert again.digest == first.digest
    judge_of("some", IMAGES, LABELS)
    assert len(trainings) == 2


def test_without_a_place_to_keep_it_a_judge_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert judge_of("some", IMAGES, LABELS).digest
    assert "the judge is not kept: cannot write" in caplog.text
