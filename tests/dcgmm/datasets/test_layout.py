import unicodedata
from pathlib import Path

import pytest

from dcgmm.datasets.layout import Layout, layout_of
from dcgmm.datasets.walking import walk
from tests.refusals import refused


def _layout(root: Path, *files: str) -> Layout:
    """Of a folder with some files, each a path, or a path and a number of files in it."""
    for file in files:
        path, _, count = file.partition(" ")
        (root / path).mkdir(parents=True, exist_ok=True)
        for number in range(int(count or 1)):
            (root / path / f"{number}.png").write_text("")
    return layout_of(walk(root), 0.2)


def _counts(layout: Layout) -> tuple[dict[str, int], dict[str, int]]:
    train, test = ({name: len(files) for name, files in part.items()} for part in (layout.train, layout.test))
    return train, test


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "TEST"),
        ("training", "testing"),
        ("train", "val"),
        ("train", "Validation"),
        ("train_set", "test-set"),
        ("train2017", "val2017"),
        ("training_images", "testData"),
    ],
)
def test_spellings_of_the_parts(tmp_path: Path, train: str, test: str) -> None:
    layout = _layout(tmp_path, f"{train}/good 3", f"{test}/good 1", f"{test}/crack 2")
    assert _counts(layout) == ({"good": 3}, {"good": 1, "crack": 2})
    assert layout.names == ("crack", "good")


def test_classes_of_other_names_stay_classes(tmp_path: Path) -> None:
    layout = _layout(tmp_path, "trained", "tests", "valley", "trainer")
    assert layout.names == ("tests", "trained", "trainer", "valley")


def test_beside_a_test_part_the_others_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layout = _layout(tmp_path, "train/a 5", "test/a", "val/a", "extra", "ground_truth/a", ".")
    assert _counts(layout) == ({"a": 5}, {"a": 1})
    assert "left out extra, val, beside training and test part" in caplog.text
    assert "1 images beside training and test part are left out" in caplog.text


def test_a_training_part_alone_is_divided(tmp_path: Path) -> None:
    assert _counts(_layout(tmp_path, "train/a 5", "train/b 10", "ground_truth/a")) == (
        {"a": 4, "b": 8},
        {"a": 1, "b": 2},
    )


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["test/a", "b"], "test/ train/:"),
        (["val/a"], "val/ train/:"),
        (["train", "car", "plane"], "car plane train/:"),
        (["train/a", "Training/a", "test/a"], "Training train"),
        (["train", "test/good"], "/train itself /test sub-folders"),
        (["train/good", "test"], "/test itself /train sub-folders"),
        (["bottle/train/a", "bottle/test/a"], "/bottle path"),
        (["train/good", "test/Good"], "Good good"),
        (["train/.hidden", "test/a"], "/train .png"),
    ],
)
def test_what_can_be_understood_in_several_ways_is_refused(tmp_path: Path, files: list[str], named: str) -> None:
    with refused(*named.split()):
        _layout(tmp_path, *files)


def test_classes_are_in_natural_order(tmp_path: Path) -> None:
    assert _layout(tmp_path, *map(str, range(12))).names == tuple(map(str, range(12)))


def test_spellings_of_a_letter_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    layout = _layout(tmp_path, f"train/{decomposed} 3", f"train/{composed} 2", f"test/{composed}")
    assert _counts(layout) == ({composed: 5}, {composed: 1})


def test_what_is_empty_or_broken_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("")
    (tmp_path / "link.png").symlink_to("nothing.png")
    assert _layout(tmp_path, "a 5").names == ("a",)
    assert f"{tmp_path}: no images in b, c" in caplog.text
    assert f"left out 1 that cannot be read: {tmp_path}/link.png (a link to nothing.png, which is not" in caplog.text


def test_images_beside_empty_folders_are_one_class(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert _layout(tmp_path, ". 5").names == ("0",)
