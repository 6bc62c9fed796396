import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dcgmm.datasets import ImageData, arrays, cache, load
from dcgmm.errors import InputError


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
    ("content", "message"),
    [
        (np.zeros((3, 5, 4), np.int64), "holds int64 values; save images as uint8"),
        (np.zeros((3, 5, 4), bool), "holds bool values"),
        (np.zeros((3, 5, 4), complex), "holds complex128 values"),
        (np.zeros((3, 5, 4), ">f4"), "of another byte order than this machine's"),
        (np.zeros((3, 5)), "holds an array 3x5; images are NxHxW or NxHxWxC"),
        (np.zeros(()), "holds an array of no dimensions"),
        (np.zeros((0, 5, 4)), "holds an array 0x5x4;"),
        (np.full((3, 5, 4), np.nan), "holds NaN; save images as uint8"),
        (np.full((3, 5, 4), 255.0), "holds values from 255 to 255;"),
        (np.asfortranarray(np.zeros((3, 5, 4))), "in Fortran order"),
        (np.array([{}] * 3, object), "holds Python objects"),
        (np.zeros(3, [("a", "u1")]), "holds .* values; save images as uint8"),
        (b"", "is no readable array file: "),
        (b"no array at all", "is no readable array file: the magic string is not correct"),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9, 5, 4)}\n"), "is cut off: it has "),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**99, 5)}\n"), "is no readable array file"),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 99999999999)}\n"), "is cut off: "),
        (_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 5, 4)}\n"), "is no readable array file: "),
        (_header("__import__('os').abort()\n"), "is no readable array file: "),
        (_header("(" * 5_000 + "\n"), "is no readable array file: "),
        (_header("{" * 20_000), "is no readable array file: Header info length .* is large"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_cannot_be_images_is_refused_in_one_line(
    tmp_path: Path, content: NDArray[Any] | bytes, message: str, suffix: str
) -> None:
    path = tmp_path / "mine.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    if suffix == ".npz":
        with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
            archive.write(path, "images.npy")
    with pytest.raises(InputError, match=message) as error:
        _load(tmp_path / f"mine{suffix}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"has labels 2 for 3 images"),
        ([[0, 1]] * 3, r"has labels 3x2 for 3 images"),
        ([0, -1, 2], "has labels from -1 to 2; they are numbers from 0 to 9999"),
        ([0, 1, 10**12], "has labels from 0 to 1000000000000;"),
        ([0.0, 1.0, 1.0], "has float64 labels; save whole numbers, or texts"),
        ([None, 1, 2], "holds Python objects"),
    ],
)
def test_what_cannot_be_labels_is_refused(tmp_path: Path, labels: Any, message: str) -> None:
    np.savez(tmp_path / "mine.npz", images=_bytes(3), labels=np.array(labels))
    with pytest.raises(InputError, match=message):
        _load(tmp_path / "mine.npz")


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "mine.npz", pictures=_bytes(3))
    with pytest.raises(InputError, match=r"must hold images as one of images, train_images, x_train; its arrays: pict"):
        _load(tmp_path / "mine.npz")
    np.savez(tmp_path / "mine.npz", x_train=_bytes(3), x_test=_bytes(3, 5, 5))
    with pytest.raises(InputError, match="training and test images have different shapes"):
        _load(tmp_path / "mine.npz")
    np.savez(tmp_path / "mine.npz", x_train=_bytes(3), x_test=_bytes(3), y_train=np.zeros(3, int))
    with pytest.raises(InputError, match="has labels of one part only"):
        _load(tmp_path / "mine.npz")
    (tmp_path / "mine.npz").write_bytes((tmp_path / "mine.npz").read_bytes()[:-50])
    with pytest.raises(InputError, match="is no readable array file: File is not a zip file"):
        _load(tmp_path / "mine.npz")
    for path in (tmp_path, tmp_path / "missing.npy"):
        with pytest.raises(InputError, match=r"^path must be a .npy or .npz file, not "):
            _load(path)
    np.savez(tmp_path / "mine.npz", images=_bytes(3000))
    monkeypatch.setattr("dcgmm.runtime._free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"this needs about 0\.0 GB of memory"):
        _load(tmp_path / "mine.npz")
