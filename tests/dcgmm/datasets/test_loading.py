import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcgmm.datasets import NAMES, DatasetOptions, Listing, load
from dcgmm.datasets.catalogue import KNOWN, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from dcgmm.datasets.files import DamagedFileError
from dcgmm.datasets.idx import encode
from dcgmm.datasets.loading import at_hand, labels_of
from dcgmm.errors import OptionError
from tests.refusals import option_refused, refused

from .conftest import TinySet, tiny_set


@pytest.fixture
def root(tiny: TinySet, tmp_path: Path) -> str:
    """Root of a tiny MNIST."""
    tiny.write(tmp_path)
    return str(tmp_path)


def test_images_and_labels_are_those_of_the_files(tiny: TinySet, root: str) -> None:
    data = load(DatasetOptions(name="mnist", root=root))
    for split, images, labels in (
        (data.train, TRAIN_IMAGES, TRAIN_LABELS),
        (data.test, TEST_IMAGES, TEST_LABELS),
    ):
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        np.testing.assert_array_equal(split.images, tiny.arrays[images][..., np.newaxis])
        np.testing.assert_array_equal(split.labels, tiny.arrays[labels])
    assert data.class_names == tuple("0123456789")
    assert data.source == str(Path(root, "MNIST/raw"))
    assert data.classes == tuple(range(10))


def test_as_a_library_the_root_is_the_configurations(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCGMM_DATA", root)
    assert load(DatasetOptions(name="mnist")).source == str(Path(root, "MNIST/raw"))


def test_images_can_be_written_to(root: str) -> None:
    # torch warns of tensors over memory that is read-only, and undefined behaviour follows.
    load(DatasetOptions(name="mnist", root=root)).train.images.zero_()


def test_classes_keep_their_labels_and_order(root: str) -> None:
    whole = load(DatasetOptions(name="mnist", root=root))
    some = load(DatasetOptions(name="mnist", root=root, classes=[7, 2]))
    assert some.train.labels.tolist() == [2, 7, 2, 7]
    assert some.test.labels.tolist() == [2, 7]
    assert torch.equal(some.train.images, whole.train.images[[2, 7, 12, 17]])
    assert some.class_names == whole.class_names
    assert some.classes == (7, 2)


def test_classes_go_by_number_or_name(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("mnist", classes=["7", 2], root=root).classes == (7, 2)
    tiny_set("fashion_mnist", monkeypatch).write(tmp_path)
    assert load("fashion_mnist", classes=["bag", 0], root=tmp_path).train.labels.unique().tolist() == [0, 8]
    # A name goes before a number that it may look like; what is given twice counts once.
    assert labels_of(["1", 0, "0", 1], ("1", "0")) == (0, 1)
    assert labels_of([10, True, 0, "e\u0301"], ("2", "10", "true", "\u00e9")) == (1, 2, 0, 3)


def test_a_name_and_keywords_are_options(root: str) -> None:
    given = load("mnist", root=Path(root), classes=[1, 2], holdout=0.5, limit=1)
    expected = load(DatasetOptions(name="mnist", root=root, classes=[1, 2], holdout=0.5, limit=1))
    assert torch.equal(given.train.images, expected.train.images)
    assert torch.equal(given.test.labels, expected.test.labels)
    # Keywords go before the options that are given.
    both = load(DatasetOptions(name="mnist", root="none", limit=5), root=root, limit=3, classes=[4])
    assert both.train.labels.tolist() == [4, 4]
    with pytest.raises(OptionError) as error:
        load("mnist", root=root, limits=3)
    assert error.value.value == "limits"


def test_the_held_out_part_is_the_training_images_end(root: str) -> None:
    whole = load(DatasetOptions(name="mnist", root=root))
    data = load(DatasetOptions(name="mnist", root=root, holdout=0.25))
    assert torch.equal(data.train.images, whole.train.images[:15])
    assert torch.equal(data.test.images, whole.train.images[15:])
    assert torch.equal(data.test.labels, whole.train.labels[15:])


def test_classes_come_before_holdout_and_holdout_before_limit(root: str) -> None:
    data = load(DatasetOptions(name="mnist", root=root, classes=[0, 1, 2, 3], holdout=0.5, limit=3))
    assert data.train.labels.tolist() == [0, 1, 2]
    assert data.test.labels.tolist() == [0, 1, 2]
    whole = load(DatasetOptions(name="mnist", root=root))
    assert torch.equal(data.test.images, whole.train.images[10:13])


def test_a_limit_frees_the_rest(root: str) -> None:
    data = load(DatasetOptions(name="mnist", root=root, limit=2))
    assert len(data.train) == len(data.test) == 2
    assert data.train.images.untyped_storage().nbytes() == 2 * 5 * 4
    assert len(load(DatasetOptions(name="mnist", root=root, limit=10**9)).train) == 20


def test_a_home_directory_in_root_is_expanded(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", root)
    assert len(load(DatasetOptions(name="mnist", root="~")).train) == 20


@pytest.mark.parametrize(
    ("changes", "field", "value", "allowed"),
    [
        ({"name": "nist"}, "name", "nist", [*NAMES]),
        ({"limit": 0}, "limit", 0, [1]),
        ({"holdout": 1.0}, "holdout", 1.0, ["[0, 1)"]),
        ({"holdout": -0.1}, "holdout", -0.1, ["[0, 1)"]),
        ({"holdout": float("nan")}, "holdout", float("nan"), ["[0, 1)"]),
        ({"holdout": 0.001}, "holdout", 0.001, [20]),
        ({"holdout": 0.999}, "holdout", 0.999, [20]),
        ({"classes": []}, "classes", [], ["one"]),
        ({"classes": [3, 10, -1]}, "classes", 10, [*range(10)]),
        ({"classes": [3, "three"]}, "classes", "three", [*range(10)]),
        ({"classes": [True]}, "classes", True, [*range(10)]),
        ({"root": ""}, "root", "", ["folder"]),
        ({"path": "/images"}, "path", "/images", ["folder", "parquet", "mnist"]),
        ({"size": [2, 2]}, "size", [2, 2], ["folder", "parquet", "mnist"]),
        ({"color": True}, "color", True, ["folder", "parquet", "mnist"]),
        ({"name": "folder"}, "path", None, ["folder"]),
    ],
)
def test_what_cannot_be_is_named(
    root: str, changes: dict[str, Any], field: str, value: object, allowed: list[object]
) -> None:
    with option_refused(field, value, *allowed):
        load(DatasetOptions(**{"name": "mnist", "root": root, **changes}))


def test_classes_without_training_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_set("kmnist", monkeypatch).write(tmp_path)
    (folder / TRAIN_LABELS).write_bytes(encode(np.full(20, 3, np.uint8)))
    assert load("kmnist", root=tmp_path, classes=[3]).train.labels.unique().tolist() == [3]
    for classes in (["na"], [3, 4]):
        with option_refused("classes", "4 (na)", "kmnist", "training", "3 (tsu)"):
            load(DatasetOptions(name="kmnist", root=str(tmp_path), classes=list(classes)))
    # Test images may be of any class that has some.
    listing = Listing(DatasetOptions(name="kmnist", root=str(tmp_path)))
    assert listing.load_test([4]).test.labels.tolist() == [4]
    (folder / TEST_LABELS).write_bytes(encode(np.full(10, 3, np.uint8)))
    with option_refused("classes", "4 (na)", "kmnist", "test", "3 (tsu)"):
        Listing(DatasetOptions(name="kmnist", root=str(tmp_path))).load_test([4])


def test_a_damaged_file_is_no_silent_download(tiny: TinySet, root: str) -> None:
    path = Path(root, "MNIST/raw", TRAIN_IMAGES)
    path.write_bytes(path.read_bytes()[:-1])
    with refused(path, "SHA-256", kind=DamagedFileError):
        load(DatasetOptions(name="mnist", root=root))


@pytest.mark.parametrize(
    ("name", "array", "named"),
    [
        (TRAIN_IMAGES, np.zeros((20, 20), np.uint8), [2, 3]),
        (TRAIN_IMAGES, np.zeros((0, 28, 28), np.uint8), ["nothing"]),
        (TRAIN_LABELS, np.zeros(19, np.uint8), [19, 20]),
        (TRAIN_LABELS, np.zeros((), np.uint8), [0, 1]),
        (TRAIN_LABELS, np.full(20, 10, np.uint8), [10]),
    ],
)
def test_files_without_checksums_must_fit_each_other(
    name: str, array: Any, named: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_set("kmnist", monkeypatch).write(tmp_path)
    config = DatasetOptions(name="kmnist", root=str(tmp_path))
    assert load(config).class_names[1] == "ki"
    (folder / name).write_bytes(encode(array))
    with refused(folder / name, *named, kind=DamagedFileError):
        load(config)


@pytest.mark.parametrize("name", ["mnist_sample", "fashion_mnist_sample"])
def test_the_samples_are_balanced_and_mixed(name: str) -> None:
    data = load(DatasetOptions(name=name, root="unused"))
    assert (len(data.train), len(data.test)) == KNOWN[name].counts == (2000, 500)
    for split in (data.train, data.test):
        assert split.images.shape[1:] == (28, 28, 1)
        # Every block of ten images holds each class once, in an order that changes.
        blocks = split.labels.view(-1, 10)
        assert torch.equal(blocks.sort(dim=1).values, torch.arange(10).expand_as(blocks))
        assert len(blocks.unique(dim=0)) == len(blocks)
    assert data.train.images.float().mean() > 20  # of 255: MNIST has 33, FashionMNIST 73
    assert len({image.numpy().tobytes() for image in torch.cat([data.train.images, data.test.images])}) > 2490


def _modules_after(code: str) -> Sequence[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_loading_imports_no_heavy_library() -> None:
    modules = _modules_after(
        "from dcgmm.datasets import DatasetOptions\nfrom dcgmm.datasets import load\n"
        "load(DatasetOptions(name='mnist_sample'))"
    )
    assert "torch" in modules
    assert not {"torchvision", "PIL", "sklearn", "matplotlib", "hydra"} & set(modules)


def test_classes_are_any_collection_but_no_single_one(root: str) -> None:
    for given in (range(2), np.arange(2), (0, 1), {0, 1}):
        assert load("mnist", classes=given, root=root).classes == (0, 1)
    for wrong, value in (("12", "12"), (3, 3), (np.empty(0), [])):
        with option_refused("classes", value, "list", "one"):
            load("mnist", classes=wrong, root=root)  # type: ignore[arg-type]


def test_data_are_sought_where_they_were_and_then_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    there = DatasetOptions(name="mnist", root=str(tmp_path), classes=[1])
    assert at_hand(there) == there
    gone = DatasetOptions(name="fashion_mnist", root=str(tmp_path), limit=3)
    assert at_hand(gone) == DatasetOptions(name="fashion_mnist", root=None, limit=3)


@pytest.mark.parametrize("name", ["mnist_sample", "mnist"])
def test_a_default_root_stays_the_default(name: str) -> None:
    options = DatasetOptions(name=name)
    assert at_hand(options) == options
