import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dcgmm.datasets import ImageData, arrays, cache, load
from tests.refusals import option_refused, refused


def _bytes(count: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *(shape or (5, 4))), np.uint8)


def _load(path: Path, **options: Any) -> ImageData:
    return load("arrays", path=path, **options)


def test_images_alone_are_one_class_and_a_map(tmp_path: Path) -> None:
    images = _bytes(10)
    np.save(tmp_path / "mine.npy", images)
    data = _load(tmp_path / "mine.npy")
    assert (data.class_names, data.classes, len(data.train), len(data.test)) == (("0",), (0,), 8, 2)
    every = torch.from_numpy(images).unsqueeze(-1)
    assert torch.equal(data.test.images, every[[4, 9]])
    whole = _load(tmp_path / "mine.npy", test_fraction=0.0)
    assert torch.equal(whole.train.images, every)
    whole.train.images.zero_()
    assert np.array_equal(np.load(tmp_path / "mine.npy"), images)


def test_labels_lie_beside_a_npy_file(tmp_path: Path) -> None:
    images, labels = _bytes(12, 5, 4, 3), np.arange(12) % 3
    np.save(tmp_path / "mine.npy", images)
    np.save(tmp_path / "mine_labels.npy", labels)
    data = _load(tmp_path / "mine.npy", classes=[0, 2], test_fraction=0.25)
    assert data.class_names == ("0", "1", "2")
    assert data.train.labels.tolist() == [0, 2, 0, 2, 0, 2]
    assert torch.equal(data.train.images, torch.from_numpy(images[[0, 2, 3, 5, 6, 8]]))
    assert torch.equal(data.test.images, torch.from_numpy(images[[9, 11]]))


@pytest.mark.parametrize("names", arrays.NAMES)
def test_npz_files_with_usual_names(tmp_path: Path, names: Any) -> None:
    (train_images, train_labels), (test_images, test_labels) = names
    images = _bytes(9)
    given: dict[str, Any] = {train_images: images[:6], train_labels: np.array(["b", "a", "10"] * 2)}
    given |= {test_images: images[6:], test_labels: np.array(["9", "a", "a"])}
    np.savez_compressed(tmp_path / "mine.npz", **given)
    data = _load(tmp_path / "mine.npz")
    assert data.class_names == ("9", "10", "a", "b")
    assert data.train.labels.tolist() == [3, 2, 1, 3, 2, 1]
    assert data.test.labels.tolist() == [2, 2]  # there is nothing to train on of 9
    assert torch.equal(data.test.images[..., 0], torch.from_numpy(images[7:]))
    held = _load(tmp_path / "mine.npz", holdout=0.5, limit=2)
    assert torch.equal(held.test.images[..., 0], torch.from_numpy(images[3:5]))


def test_floats_and_columns_of_labels(tmp_path: Path) -> None:
    images = _bytes(6).astype(np.float32) / 255
    np.savez(tmp_path / "mine.npz", images=images, labels=np.zeros((6, 1), np.uint8))
    data = _load(tmp_path / "mine.npz", test_fraction=0.0)
    assert torch.equal(data.train.images[..., 0], torch.from_numpy(images))


def test_many_images_that_are_picked_out_are_kept_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "mine.npy", _bytes(20))
    plain = _load(tmp_path / "mine.npy")
    monkeypatch.setattr(arrays, "LARGE", 100)
    for _ in range(2):
        kept = _load(tmp_path / "mine.npy", root=tmp_path / "root")
        assert torch.equal(kept.train.images, plain.train.images)
    assert [each.images for each in cache.listed(tmp_path / "root")] == [16]
    np.save(tmp_path / "mine.npy", 255 - _bytes(20))
    again = _load(tmp_path / "mine.npy", root=tmp_path / "root")
    assert torch.equal(again.train.images, 255 - plain.train.images)
    assert len(cache.listed(tmp_path / "root")) == 1


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (np.zeros((3, 5, 4), np.int64), "int64 uint8"),
        (np.zeros((3, 5, 4), bool), "bool uint8"),
        (np.zeros((3, 5, 4), complex), "complex128 uint8"),
        (np.zeros((3, 5, 4), ">f4"), ">f4 <f4"),
        (np.zeros((3, 5)), "3x5; NxHxW NxHxWxC"),
        (np.zeros(()), "no dimensions; NxHxW NxHxWxC"),
        (np.zeros((0, 5, 4)), "0x5x4; NxHxW NxHxWxC"),
        (np.full((3, 5, 4), np.nan), "NaN; uint8 [0, 1]"),
        (np.full((3, 5, 4), 255.0), "255 255; uint8 [0, 1]"),
        (np.asfortranarray(np.zeros((3, 5, 4))), "Fortran numpy.ascontiguousarray"),
        (np.array([{}] * 3, object), "Python numbers"),
        (np.zeros(3, [("a", "u1")]), "'u1' uint8"),
        (b"", "readable"),
        (b"no array at all", "readable magic"),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9, 5, 4)}\n"), "cut bytes"),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**99, 5)}\n"), "readable"),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 99999999999)}\n"), "cut bytes"),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 5, 4)}\n"), "readable -3"),
        (_header("__import__('os').abort()\n"), "readable"),
        (_header("(" * 5_000 + "\n"), "readable"),
        (_header("{" * 20_000), "readable 20000"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_cannot_be_images_is_refused_in_one_line(
    tmp_path: Path, content: NDArray[Any] | bytes, named: str, suffix: str
) -> None:
    path = tmp_path / "mine.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    if suffix == ".npz":
        with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
            archive.write(path, "images.npy")
    with refused(tmp_path / f"mine{suffix}", *named.split()):
        _load(tmp_path / f"mine{suffix}")


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ([0, 1], "2 3"),
        ([[0, 1]] * 3, "3x2 3"),
        ([0, -1, 2], "-1 2; 0 9999"),
        ([0, 1, 10**12], "0 1000000000000; 9999"),
        ([0.0, 1.0, 1.0], "float64 numbers texts"),
        ([None, 1, 2], "Python numbers"),
    ],
)
def test_what_cannot_be_labels_is_refused(tmp_path: Path, labels: Any, named: str) -> None:
    np.savez(tmp_path / "mine.npz", images=_bytes(3), labels=np.array(labels))
    with refused(tmp_path / "mine.npz", *named.split()):
        _load(tmp_path / "mine.npz")


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "mine.npz", pictures=_bytes(3))
    with refused(tmp_path / "mine.npz", "images", "train_images", "x_train", "pictures"):
        _load(tmp_path / "mine.npz")
    np.savez(tmp_path / "mine.npz", x_train=_bytes(3), x_test=_bytes(3, 5, 5))
    with refused(tmp_path / "mine.npz", "5x4x1", "5x5x1"):
        _load(tmp_path / "mine.npz")
    np.savez(tmp_path / "mine.npz", x_train=_bytes(3), x_test=_bytes(3), y_train=np.zeros(3, int))
    with refused(tmp_path / "mine.npz", "training", "both"):
        _load(tmp_path / "mine.npz")
    (tmp_path / "mine.npz").write_bytes((tmp_path / "mine.npz").read_bytes()[:-50])
    with refused(tmp_path / "mine.npz", "zip"):
        _load(tmp_path / "mine.npz")
    for path in (tmp_path, tmp_path / "missing.npy"):
        with option_refused("path", path, ".npy", ".npz"):
            _load(path)
    np.savez(tmp_path / "mine.npz", images=_bytes(3000))
    monkeypatch.setattr("dcgmm.runtime._free_memory", lambda: 1000)
    with refused(f"{tmp_path / 'mine.npz'}:", "GB"):
        _load(tmp_path / "mine.npz")
