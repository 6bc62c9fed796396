from pathlib import Path
from typing import Any

import pytest

from dcgmm.datasets import sources
from dcgmm.datasets.catalogue import KNOWN, TRAIN_LABELS, KnownSet
from dcgmm.datasets.files import SourceError
from dcgmm.datasets.options import DataRootOptions
from dcgmm_cli.commands.data import run_in_place
from dcgmm_cli.schema_in_place import DataConfig
from tests.dcgmm.datasets.conftest import tiny_set
from tests.refusals import refused


def _run(root: Path, fetch: Any = None) -> Path:
    return run_in_place(DataConfig(dataset=DataRootOptions(str(root)), fetch=fetch))


def _rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_all_data_sets_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path) == tmp_path
    rows = _rows(capsys.readouterr().out)
    assert {*KNOWN, "folder"} <= rows.keys()
    assert rows["mnist"][1:4] == ["absent", "70,000", "MNIST/raw"]
    assert rows["mnist_sample"][1:3] == ["bundled", "2,500"]
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_set("mnist", monkeypatch)
    folder = tiny.write(tmp_path)
    _run(tmp_path)
    assert _rows(capsys.readouterr().out)["mnist"][1] == "verified"
    (folder / TRAIN_LABELS).write_bytes(b"damaged")
    _run(tmp_path)
    out = capsys.readouterr().out
    assert _rows(out)["mnist"][1] == "damaged"
    assert f"{folder / TRAIN_LABELS} is damaged: SHA-256 " in out


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that `fetch` was asked for; KMNIST and SVHN cannot be fetched."""
    names: list[str] = []

    def fetch(known: KnownSet, root: Path) -> str | None:
        names.append(known.name)
        if known.name in ("kmnist", "svhn"):
            raise SourceError("no way")
        return "a source" if known.name == "mnist" else None

    monkeypatch.setattr(sources, "fetch", fetch)
    return names


@pytest.mark.parametrize(
    ("fetch", "names"),
    [
        (None, []),
        ([], []),
        ("mnist", ["mnist"]),
        (["cifar10", "mnist", "mnist"], ["cifar10", "mnist"]),
    ],
)
def test_what_is_named_is_fetched(tmp_path: Path, fetched: list[str], fetch: Any, names: list[str]) -> None:
    _run(tmp_path, fetch)
    assert fetched == names


def test_failures_come_together_at_the_end(
    tmp_path: Path, fetched: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with refused("kmnist: no way", "svhn: no way"):
        _run(tmp_path, "all")
    assert fetched == ["mnist", "fashion_mnist", "kmnist", "cifar10", "svhn"]
    assert "mnist" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fetch", "named"),
    [("nist", "nist"), (["mnist", "mnist_sample"], "mnist_sample"), (["folder"], "folder"), ([3], 3), (3, 3)],
)
def test_what_cannot_be_fetched_is_named(tmp_path: Path, fetched: list[str], fetch: Any, named: Any) -> None:
    with refused(f"fetch={named}", "mnist", "fashion_mnist", "all"):
        _run(tmp_path, fetch)
    assert not fetched
