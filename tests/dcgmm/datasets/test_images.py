import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dcgmm.datasets import cache, decoding
from dcgmm.datasets.images import Preparation, iter_images, known_images, load_images
from tests.refusals import check_names, refused

GREY, COLOUR = (5, 4, 1), (5, 4, 3)
AS_GREY, AS_COLOUR = Preparation(GREY), Preparation(COLOUR)


def _bytes(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_a_folder_comes_in_batches_with_what_cannot_be_used(tmp_path: Path) -> None:
    pixels = _bytes(5, 5, 4)
    (tmp_path / "sub").mkdir()
    for index, name in enumerate(("a.png", "b.png", "d.png", "sub/a.png", "sub/b.png")):
        Image.fromarray(pixels[index]).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"no image")
    Image.fromarray(_bytes(4, 5)).save(tmp_path / "e.png")
    batches = list(iter_images(tmp_path, AS_GREY, batch_size=3))
    assert [len(batch.images) for batch in batches] == [2, 2, 1]
    assert [len(batch.failures) for batch in batches] == [1, 1, 0]
    whole = load_images(tmp_path, AS_GREY)
    assert whole.names == ["a.png", "b.png", "d.png", "sub/a.png", "sub/b.png"]
    assert whole.images.dtype == torch.float32
    np.testing.assert_array_equal(whole.images[..., 0], pixels.astype(np.float32) / np.float32(255))
    assert [name for name, _ in whole.failures] == ["c.png", "e.png"]
    check_names(whole.failures[1][1], "4x5x1", "5x4x1", "dataset.size")


def test_image_files_are_converted_to_the_models_channels(tmp_path: Path) -> None:
    Image.fromarray(_bytes(5, 4)).save(tmp_path / "grey.png")
    assert load_images(tmp_path, AS_COLOUR).images.shape == (1, *COLOUR)


def test_one_image_is_a_batch_of_its_own(tmp_path: Path) -> None:
    Image.fromarray(_bytes(5, 4)).save(tmp_path / "one.png")
    whole = load_images(str(tmp_path / "one.png"), AS_GREY)
    assert whole.names == ["one.png"]


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, ">f4"])
def test_arrays_come_in_batches(tmp_path: Path, save: Any, dtype: Any) -> None:
    array = _bytes(7, *COLOUR)
    expected = array.astype(np.float32) / np.float32(255)
    if dtype != np.uint8:
        array = expected = expected.astype(dtype)
    path = tmp_path / ("set.npy" if save is np.save else "set.npz")
    save(path, array)
    batches = iter_images(path, AS_COLOUR, batch_size=3)
    assert [len(batch.images) for batch in batches] == [3, 3, 1]
    whole = load_images(path, AS_COLOUR)
    assert whole.images.dtype == torch.float32
    np.testing.assert_allclose(whole.images, expected.astype(np.float32), rtol=1e-6)
    assert whole.names[::3] == [f"{path.name}[0]", f"{path.name}[3]", f"{path.name}[6]"]
    assert not whole.failures


def test_images_without_a_channel_axis_are_grey(tmp_path: Path) -> None:
    array = _bytes(3, 5, 4)
    np.save(tmp_path / "set.npy", array)
    assert load_images(tmp_path / "set.npy", AS_GREY).images.shape == (3, *GREY)
    with refused(tmp_path / "set.npy", "3x5x4", "Nx5x4x3"):
        iter_images(tmp_path / "set.npy", AS_COLOUR)


def test_of_several_arrays_images_is_taken(tmp_path: Path) -> None:
    array = _bytes(3, 5, 4)
    np.savez(tmp_path / "set.npz", labels=np.arange(3), images=array)
    np.testing.assert_allclose(load_images(tmp_path / "set.npz", AS_GREY).images[..., 0], array / 255, rtol=1e-6)
    np.savez(tmp_path / "other.npz", labels=np.arange(3), pictures=array)
    with refused(tmp_path / "other.npz", "`images`", "labels", "pictures"):
        iter_images(tmp_path / "other.npz", AS_GREY)


def test_images_with_impossible_values_are_rejected_one_by_one(tmp_path: Path) -> None:
    array = np.full((5, *GREY), 0.5, np.float32)
    array[1, 0, 0], array[2, 4, 3], array[3, 2, 2], array[4, 0, 1] = np.nan, -np.inf, 2, -0.25
    np.save(tmp_path / "set.npy", array)
    whole = load_images(tmp_path / "set.npy", AS_GREY)
    assert whole.names == ["set.npy[0]"]
    assert whole.images.shape == (1, *GREY)
    assert [name for name, _ in whole.failures] == [f"set.npy[{number}]" for number in (1, 2, 3, 4)]
    told = ("NaN", "infinite", "0.5 2 [0, 1]", "-0.25 0.5 [0, 1]")
    for (_, problem), named in zip(whole.failures, told, strict=True):
        check_names(problem, *named.split())


def test_nan_stands_for_what_is_missing_where_that_is_asked_for(tmp_path: Path) -> None:
    images = np.full((4, *GREY), 0.5, np.float32)
    images[0, 1, 2], images[1], images[2, 0, 0], images[3, 0, :2, 0] = np.nan, np.nan, np.inf, (np.nan, 2)
    np.save(tmp_path / "set.npy", images)
    found = load_images(tmp_path / "set.npy", AS_GREY, missing=True)
    assert np.array_equal(found.images.numpy(), images[:2], equal_nan=True)
    assert found.failures[0] == ("set.npy[2]", "it holds infinite values")
    assert found.failures[1][0] == "set.npy[3]"
    check_names(found.failures[1][1], "0.5", 2, "[0, 1]")


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros((3, 6, 4, 1), np.uint8), "3x6x4x1; Nx5x4x1"),
        (np.zeros((5, 4), np.uint8), "5x4; Nx5x4x1"),
        (np.zeros((), np.uint8), "Nx5x4x1"),
        (np.zeros((0, 5, 4, 1), np.uint8), "0x5x4x1: one"),
        (np.zeros((3, 5, 4, 1), np.int64), "int64 uint8"),
        (np.zeros((3, 5, 4, 1), bool), "bool uint8"),
        (np.asfortranarray(np.zeros((3, 5, 4, 1), np.uint8)), "Fortran numpy.ascontiguousarray"),
    ],
)
def test_an_array_that_cannot_be_images_is_refused(tmp_path: Path, array: Any, named: str) -> None:
    np.save(tmp_path / "set.npy", array)
    with refused(tmp_path / "set.npy", *named.split()):
        iter_images(tmp_path / "set.npy", AS_GREY)


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    nested = b"\x93NUMPY\x01\x00\x88\x13" + b"(" * 5000
    for content in (b"", b"no array at all", b"\x93NUMPY\x09\x00", nested):
        (tmp_path / name).write_bytes(content)
        with refused(tmp_path / name, "readable"):
            iter_images(tmp_path / name, AS_GREY)


def test_an_array_of_fewer_than_no_images(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 5, 4, 1)}\n"
    (tmp_path / "set.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([len(header), 0]) + header)
    with refused(tmp_path / "set.npy", "readable", -1):
        iter_images(tmp_path / "set.npy", AS_GREY)


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_an_array_that_is_cut_off_is_told_before_any_image(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "set.npy", _bytes(6, *GREY))
    content = (tmp_path / "set.npy").read_bytes()[:-25]
    (tmp_path / "set.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", content)
    with refused(tmp_path / name, len(content), len(content) + 25):
        iter_images(tmp_path / name, AS_GREY)


def test_an_array_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "set.npy"
    np.save(path, _bytes(6000, *GREY))
    batches = iter_images(path, AS_GREY, batch_size=2000)
    assert len(next(batches).images) == 2000
    os.truncate(path, 128 + 20 * 4000 + 5)
    assert len(next(batches).images) == 2000
    with refused(path, 4000):
        next(batches)


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("images.npy", "w") as file:
        np.save(file, _bytes(1000, *GREY))
    content = bytearray(path.read_bytes())
    content[10_000] ^= 1  # a pixel: the archive's own checksum finds it
    path.write_bytes(content)
    with refused(path, "CRC-32"):
        list(iter_images(path, AS_GREY))


def test_a_path_without_images_is_named(tmp_path: Path) -> None:
    with refused(tmp_path / "missing", "folder", ".npy"):
        iter_images(tmp_path / "missing", AS_GREY)
    with refused(tmp_path, ".png"):
        iter_images(tmp_path, AS_GREY)
    (tmp_path / "notes.txt").write_text("")
    with refused(tmp_path / "notes.txt", "folder", ".npy", ".npz"):
        iter_images(tmp_path / "notes.txt", AS_GREY)


def test_many_files_are_decoded_once_into_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "new"
    folder.mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (5, 4), np.uint8)).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no image")
    (folder / "gone.png").symlink_to("nothing")
    Image.new("L", (9, 9)).save(folder / "other.png")
    whole = load_images(folder, AS_GREY)
    monkeypatch.setattr(decoding, "MANY", 5)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    assert torch.equal(load_images(folder, AS_GREY).images, whole.images)
    for _ in range(2):
        found = known_images(folder, AS_GREY, tmp_path / "root")
        assert found.images.dtype == torch.uint8
        torch.testing.assert_close(found.images / 255, whole.images)
        assert (found.names, found.failures) == (whole.names, whole.failures)
    assert [each.images for each in cache.listed(tmp_path / "root")] == [7]
    assert known_images(folder / "0.png", AS_GREY, None).names == ["0.png"]


@pytest.mark.parametrize("many", [False, True])
def test_images_of_another_aspect_ratio_are_told_of(
    many: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if many:  # they are kept decoded, and are known from there
        monkeypatch.setattr(decoding, "MANY", 2)
    (tmp_path / "new").mkdir()
    # The third and fourth are half and twice as large, of the same aspect ratio but for rounding.
    for number, (height, width) in enumerate([(30, 40), (20, 20), (15, 20), (61, 80), (35, 45), (20, 20)]):
        Image.fromarray(_bytes(height, width)).save(tmp_path / "new" / f"{number}.png")
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    preparation = Preparation((30, 40, 1), resize=True)
    told = f"{tmp_path / 'new'}: 3 of 7 images had another aspect ratio (20x20, 35x45) and were stretched to 30x40"
    for _ in range(2):
        for read in (load_images, partial(known_images, root=tmp_path / "root")):
            caplog.clear()
            assert read(tmp_path / "new", preparation).stretched == [(20, 20), (35, 45), (20, 20)]
            assert [record.getMessage() for record in caplog.records][1:] == [told]
    caplog.clear()
    assert not load_images(tmp_path / "new" / "2.png", preparation).stretched
    assert not caplog.records
