import errno
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from dcgmm.datasets import ImageData, Listing, cache, decoding, load, pixels
from dcgmm.datasets.decoding import WorkerError
from dcgmm.datasets.options import DatasetOptions
from dcgmm.datasets.pixels import Decoded
from tests.refusals import option_refused, refused

COUNT = 12  # files of each class


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, some files of which cannot be read or hold several pictures: many, as it is taken here."""
    rng, place = np.random.default_rng(0), tmp_path / "mine"
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        for number in range(COUNT):
            Image.fromarray(rng.integers(0, 256, (9, 8), np.uint8)).save(place / name / f"{number:02d}.png")
    (place / "a" / "03.png").write_bytes(b"no image")
    Image.new("L", (8, 9)).save(place / "b" / "x.tif", save_all=True, append_images=[Image.new("L", (8, 9))])
    monkeypatch.setattr(decoding, "MANY", 5)
    monkeypatch.setenv("DCGMM_DATA", str(tmp_path / "root"))
    return place


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded in this process."""
    names: list[str] = []

    def noted(path: Path, *given: Any) -> Decoded:
        names.append(path.name)
        return pixels.decode(path, *given)

    monkeypatch.setattr(decoding, "decode", noted)
    return names


def _caches(folder: Path) -> list[Path]:
    return sorted((folder.parent / "root" / cache.FOLDER).glob(f"*{cache.SUFFIX}"))


def _plain(data: ImageData) -> object:
    parts = [(s.images.tolist(), s.labels.tolist(), s.files, s.masks) for s in (data.train, data.test)]
    return parts, data.failures, data.classes, data.digest


def _threads(count: int) -> Callable[[], int]:
    return lambda: count


def test_the_same_with_and_without_a_cache_and_with_several_processes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found, said = [], []
    for threads, options in ((1, {"cache": False}), (1, {}), (1, {}), (3, {"root": folder.parent / "other"})):
        monkeypatch.setattr(torch, "get_num_threads", _threads(threads))
        found.append(_plain(load("folder", path=folder, **options)))
        said.append(list(caplog.messages))
        caplog.clear()
    assert found[0] == found[1] == found[2] == found[3]
    assert said[0] == said[1] == said[2] == said[3]
    assert len(said[0]) == 2  # of failures, and of several pictures
    assert [len(list(place.glob(f"*{cache.SUFFIX}"))) for place in folder.parent.glob("*/decoded")] == [1, 1]


def test_errors_are_the_same_with_a_cache(folder: Path) -> None:
    for place in (folder / "a").iterdir():
        Image.fromarray(np.full((9, 8), 4000, np.uint16)).save(place)
    for _ in range(2):
        with option_refused("white", None, 4000):
            load("folder", path=folder)
    assert len(_caches(folder)) == 1  # pixels are known all the same
    Image.new("L", (8, 8)).save(folder / "b" / "02.png")
    for _ in range(2):
        with option_refused("size", None, "b/02.png", "8x8", "9x8"):
            load("folder", path=folder, white=4095)
    # A test part of another size than a training part of which both are in caches.
    shutil.rmtree(folder)
    for part, side in (("train", 8), ("test", 7)):
        (folder / part / "c").mkdir(parents=True)
        for number in range(6):
            Image.new("L", (8, side)).save(folder / part / "c" / f"{number}.png")
    Listing(DatasetOptions(name="folder", path=str(folder))).load_test(None)
    with option_refused("size", None, "test/c/0.png", "7x8", "8x8"):
        load("folder", path=folder)


def test_decoded_once_and_again_when_a_file_changes(
    folder: Path, read: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = load("folder", path=folder)
    assert len(read) == 2 * COUNT + 1
    read.clear()
    assert load("folder", path=folder).digest == first.digest
    assert len(read) == len(first.test)  # four files: too few to be kept
    before = _caches(folder)
    state = (folder / "a" / "00.png").stat()
    Image.fromarray(255 - np.asarray(Image.open(folder / "a" / "00.png"))).save(folder / "a" / "00.png")
    os.utime(folder / "a" / "00.png", ns=(state.st_atime_ns, state.st_mtime_ns))  # as who copies times as well
    caplog.clear()
    assert load("folder", path=folder).digest != first.digest
    assert f"the images in {folder} have changed: they are decoded again" in caplog.messages
    (folder / "b" / "09.png").unlink()
    assert len(load("folder", path=folder).train) == len(first.train) - 1
    assert _caches(folder) == before  # replaced


def test_what_is_chosen_is_told_apart_and_nothing_else_decoded(folder: Path, read: list[str]) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"classes": ["a"]},
        {"limit": 7},
        {"size": [4, 4]},
        {"color": True},
        {"white": 65_535},
        {"holdout": 0.5},
    ]
    for given in options:
        read.clear()
        whole = load("folder", path=folder, cache=False, **given)
        count = len(read)
        for _ in range(2):
            assert _plain(load("folder", path=folder, **given)) == _plain(whole)
        assert len(read) <= 3 * count
        assert count <= 14 if "limit" in given else count
    assert len(_caches(folder)) == 8  # with a holdout of both parts


def test_a_damaged_cache_is_made_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = _plain(load("folder", path=folder))
    (path,) = _caches(folder)
    content = path.read_bytes()
    damages: list[Callable[[], object]] = [
        lambda: path.write_bytes(content[:-1]),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(content[100:]),
        lambda: path.write_bytes(content[:-90] + b"x" + content[-89:]),
        lambda: path.write_bytes(content[:-8] + b"another!"),
        lambda: path.write_bytes(content[:-48] + b"\xff" * 8 + content[-40:]),
    ]
    for damage in damages:
        damage()
        caplog.clear()
        assert _plain(load("folder", path=folder)) == whole
        assert [f"{path} cannot be used" in line for line in caplog.messages].count(True) == 1
        assert path.read_bytes() == content
    path.unlink()
    os.mkfifo(path)
    assert _plain(load("folder", path=folder)) == whole
    assert path.is_fifo()


def test_images_may_be_written_to_without_changing_the_cache(folder: Path) -> None:
    first = load("folder", path=folder)
    (path,) = _caches(folder)
    content = path.read_bytes()
    load("folder", path=folder).train.images.zero_()
    assert path.read_bytes() == content
    cache.remove(folder.parent / "root")
    assert first.train.images.any()  # what is open stays


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file can grow beyond a thousand bytes: what a full disk does, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_there_is_no_room_images_are_decoded_into_memory(
    folder: Path, little_room: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _plain(load("folder", path=folder, cache=False))
    caplog.clear()
    assert _plain(load("folder", path=folder)) == whole
    (line,) = (line for line in caplog.messages if "taken into memory" in line)
    assert "File too large: its images are taken into memory" in line
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 700))  # type: ignore[attr-defined]
    caplog.clear()
    assert _plain(load("folder", path=folder)) == whole
    assert any("0.0 MB are needed, 0.0 MB are free" in line for line in caplog.messages)
    assert not [path for path in (folder.parent / "root" / "decoded").iterdir() if path.suffix != ".lock"]
    (folder.parent / "file").touch()
    assert _plain(load("folder", path=folder, root=folder.parent / "file")) == whole
    assert f"cannot write {folder.parent / 'file' / 'decoded'}: {os.strerror(errno.ENOTDIR)}" in caplog.text
    # Nor in memory.
    monkeypatch.setattr("dcgmm.runtime._free_memory", lambda: 1000)
    with refused("21 images", "0.0 GB"):
        load("folder", path=folder)


def test_a_decoder_that_ends_is_not_taken_for_a_full_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", _threads(2))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerError):
        load("folder", path=folder)
    assert not caplog.messages


def test_two_at_once_make_it_once(folder: Path, read: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    whole = load("folder", path=folder)
    (path,) = _caches(folder)
    content = path.read_bytes()
    path.unlink()
    read.clear()
    results: list[ImageData] = []
    with FileLock(path.with_name(f".{path.name.removesuffix(cache.SUFFIX)}.lock")):
        waiting = threading.Thread(target=lambda: results.append(load("folder", path=folder)))
        waiting.start()
        while "another process decodes the images" not in caplog.text:
            waiting.join(0.01)
        path.write_bytes(content)
    waiting.join()
    assert results[0].digest == whole.digest
    assert len(read) == len(whole.test)


KILLED = """
import os, sys
from dcgmm.datasets import decoded, decoding, load
decoding.MANY, count, decode, decoded.torch.get_num_threads = 5, 0, decoding.decode, lambda: 1
def dies(*given):
    global count
    count += 1
    if count == 9:
        os.kill(os.getpid(), 9)
    return decode(*given)
decoding.decode = dies
load("folder", path=sys.argv[1])
"""


def test_killed_while_it_is_written(folder: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert ended.returncode == -9
    place = folder.parent / "root" / cache.FOLDER
    assert len(list(place.glob(".*.tmp"))) == 1
    assert not _caches(folder)
    whole = _plain(load("folder", path=folder, cache=False))
    assert _plain(load("folder", path=folder)) == whole
    assert not list(place.glob(".*.tmp"))
    assert len(_caches(folder)) == 1


def test_caches_are_listed_and_removed(folder: Path) -> None:
    load("folder", path=folder)
    load("folder", path=folder, classes=["b"], limit=6)
    root = folder.parent / "root"
    listed = {each.name: each for each in cache.listed(root)}
    assert {(each.images, each.what, each.source) for each in listed.values()} == {
        (20, "training images of a, b", str(folder)),
        (6, "training images of b", str(folder)),
    }
    (one, other) = listed
    listed[one].path.write_bytes(b"")
    (root / cache.FOLDER / f".{other}{cache.SUFFIX}.0.tmp").touch()
    assert [(each.images, each.what) for each in cache.listed(root) if each.name == one] == [(0, "damaged")]
    assert cache.remove(root, [one]) == [one]
    with FileLock(root / cache.FOLDER / f".{other}.lock"):
        assert cache.remove(root) == []
    assert other in cache.remove(root)
    assert list(root.iterdir()) == []
    assert cache.listed(root) == []


def test_it_is_reported_how_far_it_is(folder: Path) -> None:
    reports: list[tuple[int, int]] = []
    load("folder", path=folder, report=lambda *how: reports.append(how), test_fraction=0.0)
    assert reports[-1] == (25, 25)
    reports.clear()
    load("folder", path=folder, report=lambda *how: reports.append(how), test_fraction=0.0)
    assert not reports
