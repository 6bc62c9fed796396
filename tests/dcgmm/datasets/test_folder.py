from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dcgmm.datasets import DatasetOptions, ImageData, Listing, decoding, folder, load, pixels, walking
from tests.refusals import check_names, option_refused, refused


def _fill(folder: Path, count: int, value: int, shape: tuple[int, ...] = (5, 4)) -> None:
    """Put images into a folder: all pixels of image i are `value + i`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(np.full(shape, value + index, np.uint8)).save(folder / f"{index:03d}.png")


def _load(folder: Path, **options: Any) -> ImageData:
    return load(DatasetOptions(name="folder", path=str(folder), **options))


def _listing(folder: Path, **options: Any) -> Listing:
    return Listing(DatasetOptions(name="folder", path=str(folder), **options))


def _values(images: torch.Tensor) -> list[int]:
    assert torch.equal(images, images[:, :1, :1].expand_as(images))
    return images[:, 0, 0, 0].tolist()


def test_subfolders_are_classes_sorted_by_name(tmp_path: Path) -> None:
    _fill(tmp_path / "zebra", 5, 100)
    _fill(tmp_path / "ant", 10, 0)
    data = _load(tmp_path)
    assert data.class_names == ("ant", "zebra")
    assert data.train.images.shape == (12, 5, 4, 1)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    for split, ants, zebras in ((data.train, 8, 4), (data.test, 2, 1)):
        assert split.labels.bincount().tolist() == [ants, zebras]
        assert [value >= 100 for value in _values(split.images)] == split.labels.bool().tolist()
    assert sorted(_values(data.train.images) + _values(data.test.images)) == [*range(10), *range(100, 105)]


def test_the_split_is_the_same_each_time_and_spread_over_the_files(tmp_path: Path) -> None:
    _fill(tmp_path / "a", 10, 0)
    data, again = _load(tmp_path, test_fraction=0.3), _load(tmp_path, test_fraction=0.3)
    assert _values(data.test.images) == _values(again.test.images) == [3, 6, 9]
    assert len(_load(tmp_path, test_fraction=0.0).test) == 0
    assert len(_load(tmp_path, test_fraction=0.99).train) == 1


def test_classes_alternate_so_that_a_limit_is_fair(tmp_path: Path) -> None:
    _fill(tmp_path / "a", 20, 0)
    _fill(tmp_path / "b", 10, 100)
    data = _load(tmp_path, test_fraction=0.0, limit=6)
    assert data.train.labels.bincount().tolist() == [4, 2]
    data = _load(tmp_path, test_fraction=0.0, holdout=0.2)
    assert data.test.labels.bincount().tolist() == [4, 2]


def test_train_and_test_folders_are_the_split(tmp_path: Path) -> None:
    _fill(tmp_path / "train" / "a", 3, 0)
    _fill(tmp_path / "train" / "b", 2, 50)
    _fill(tmp_path / "test" / "c", 1, 100)
    _fill(tmp_path / "test" / "b", 1, 150)
    data = _load(tmp_path)
    assert data.class_names == ("a", "b", "c")
    assert (data.classes, data.chosen_names) == ((0, 1), ("a", "b"))
    assert data.train.labels.bincount(minlength=3).tolist() == [3, 2, 0]
    # What there is nothing to train on of is no part of the test images, unless it is asked for.
    assert (data.test.labels.tolist(), _values(data.test.images)) == ([1], [150])
    assert _values(_listing(tmp_path).load_test(["c", 1]).test.images) == [150, 100]
    with option_refused("classes", "2 (c)", "folder", "0 (a)", "1 (b)"):
        _load(tmp_path, classes=["c"])
    with option_refused("classes", "2 (c)", "folder", "0 (a)", "1 (b)"):
        _listing(tmp_path, holdout=0.2).load_test(["c"])


def test_an_images_file_and_mask_are_known(tmp_path: Path) -> None:
    _fill(tmp_path / "train" / "good", 2, 0)
    for name in ("good", "crack", "hole"):
        _fill(tmp_path / "test" / name, 2, 0)
    masks = tmp_path / "ground_truth"
    for mask in (masks / "crack" / "001_mask.png", masks / "hole" / "000.png"):
        mask.parent.mkdir(parents=True)
        Image.new("L", (4, 5)).save(mask)
    data = _load(tmp_path)
    assert data.class_names == ("crack", "good", "hole")
    assert (data.train.files, data.train.masks) == (
        tuple(tmp_path / "train" / "good" / f"00{number}.png" for number in (0, 1)),
        (None, None),
    )
    test = _listing(tmp_path).load_test(["crack", "hole"]).test
    assert test.files is not None
    assert test.masks is not None
    found = dict(zip(test.files, test.masks, strict=True))
    folder = tmp_path / "test"
    assert found == {
        folder / "crack" / "000.png": None,
        folder / "crack" / "001.png": masks / "crack" / "001_mask.png",
        folder / "hole" / "000.png": masks / "hole" / "000.png",
        folder / "hole" / "001.png": None,
    }
    assert test[1:].files == test.files[1:]
    assert test[test.labels == 2].masks == (masks / "hole" / "000.png", None)


def test_no_more_is_read_than_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("a", "b", "c")):
        _fill(tmp_path / name, 20, 100 * number)
    whole = _load(tmp_path, test_fraction=0.5)
    read, listed = list[Path](), list[Path]()

    def decode(path: Path, *given: Any) -> pixels.Decoded:
        read.append(path)
        return pixels.decode(path, *given)

    def walk(path: Path) -> walking.Tree:
        listed.append(path)
        return walking.walk(path)

    monkeypatch.setattr(decoding, "decode", decode)
    monkeypatch.setattr(folder, "walk", walk)
    data = _load(tmp_path, classes=["a", 2], holdout=0.5, limit=4, test_fraction=0.5)
    assert len(read) == len(data.train) + len(data.test) == 8
    assert listed == [tmp_path]
    some = whole.train[torch.isin(whole.train.labels, torch.tensor([0, 2]))]
    assert torch.equal(data.train.images, some.images[:4])
    assert torch.equal(data.test.images, some.images[10:14])
    read.clear()
    assert len(_listing(tmp_path, test_fraction=0.5).load_test([1]).test) == len(read) == 10


def test_a_folder_without_subfolders_is_one_class(tmp_path: Path) -> None:
    _fill(tmp_path, 5, 0)
    data = _load(tmp_path)
    assert data.class_names == ("0",)
    assert (len(data.train), len(data.test)) == (4, 1)


def test_images_beside_the_subfolders_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _fill(tmp_path / "a", 2, 0)
    _fill(tmp_path, 3, 0)
    assert len(_load(tmp_path, test_fraction=0.0).train) == 2
    assert "3 images beside the sub-folders have no class" in caplog.text


def test_images_are_resized_and_coloured(tmp_path: Path) -> None:
    _fill(tmp_path / "a", 1, 7, (10, 20))
    _fill(tmp_path / "b", 1, 9, (40, 8, 3))
    data = _load(tmp_path, size=[6, 5], color=True, test_fraction=0.0)
    assert data.train.images.shape == (2, 6, 5, 3)
    assert _values(data.train.images) == [7, 9]


def test_images_of_different_sizes_need_a_size(tmp_path: Path) -> None:
    _fill(tmp_path / "a", 2, 0, (5, 4))
    _fill(tmp_path / "b", 2, 0, (5, 3))
    with option_refused("size", None, "[height, width]", "b/000.png", "5x3", "5x4"):
        _load(tmp_path)


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _fill(tmp_path / "a", 5, 0)
    (tmp_path / "a" / "002.png").write_bytes(b"no image")
    Image.fromarray(np.full((5, 4), np.nan, np.float32)).save(tmp_path / "a" / "nan.tif")
    data = _load(tmp_path, test_fraction=0.0)
    assert _values(data.train.images) == [0, 1, 3, 4]
    assert [name for name, _ in data.failures] == ["a/002.png", "a/nan.tif"]
    check_names(caplog.messages[-1], "2 of 6", "a/002.png:", "a/nan.tif:", "NaN")
    for number in (0, 1, 3, 4):
        (tmp_path / "a" / f"00{number}.png").unlink()
    with refused(tmp_path, 2, "a/002.png:"):
        _load(tmp_path, test_fraction=0.0)


def test_of_several_pictures_in_a_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _fill(tmp_path / "a", 2, 0)
    Image.new("L", (4, 5)).save(tmp_path / "a" / "b.tif", save_all=True, append_images=[Image.new("L", (4, 5))])
    assert len(_load(tmp_path, test_fraction=0.0).train) == 3
    assert "1 files hold several pictures (animated, or of several pages), of which the first is taken: a/b.tif" in (
        caplog.text
    )


def test_twelve_bits_in_sixteen_need_a_white(tmp_path: Path) -> None:
    for number, value in enumerate((0, 4000)):
        Image.fromarray(np.full((5, 4), value, np.uint16)).save(tmp_path / f"{number}.png")
    with option_refused("white", None, 4095, 4000):
        _load(tmp_path, test_fraction=0.0)
    assert _values(_load(tmp_path, test_fraction=0.0, white=4095).train.images) == [0, 249]
    assert _values(_load(tmp_path, test_fraction=0.0, white=65_535).train.images) == [0, 16]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("size", [28], [2, 1]),
        ("size", [28, 0], [2, 1]),
        ("test_fraction", 1.0, ["[0, 1)"]),
        ("test_fraction", -0.1, ["[0, 1)"]),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, field: str, value: Any, allowed: list[object]) -> None:
    with option_refused(field, value, *allowed):
        _load(tmp_path, **{field: value})


def test_a_path_without_images_is_named(tmp_path: Path) -> None:
    with option_refused("path", tmp_path / "missing", "folder"):
        _load(tmp_path / "missing")
    with refused(tmp_path, ".png"):
        _load(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("")
    with refused(tmp_path, ".png"):
        _load(tmp_path)
    _fill(tmp_path / "train" / "a", 1, 0)
    (tmp_path / "test").mkdir()
    (tmp_path / "a" / "notes.txt").unlink()
    with refused(tmp_path / "test", ".png"):
        _load(tmp_path)
