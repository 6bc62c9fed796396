import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcgmm_cli.config import DatasetConfig
from dcgmm_cli.datasets import NAMES, load
from dcgmm_cli.datasets.catalogue import KNOWN, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from dcgmm_cli.datasets.idx import encode
from dcgmm_cli.errors import UserError

from .conftest import TinySet, tiny_set


@pytest.fixture
def root(tiny: TinySet, tmp_path: Path) -> str:
    """Root of a tiny MNIST."""
    tiny.write(tmp_path)
    return str(tmp_path)


def test_images_and_labels_are_those_of_the_files(tiny: TinySet, root: str) -> None:
    data = load(DatasetConfig(name="mnist", root=root))
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


def test_as_a_library_the_root_is_the_configurations(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCGMM_DATA", root)
    assert load(DatasetConfig(name="mnist")).source == str(Path(root, "MNIST/raw"))


def test_images_can_be_written_to(root: str) -> None:
    # torch warns of tensors over memory that is read-only, and undefined behaviour follows.
    load(DatasetConfig(name="mnist", root=root)).train.images.zero_()


def test_classes_keep_their_labels_and_order(root: str) -> None:
    whole = load(DatasetConfig(name="mnist", root=root))
    some = load(DatasetConfig(name="mnist", root=root, classes=[7, 2]))
    assert some.train.labels.tolist() == [2, 7, 2, 7]
    assert some.test.labels.tolist() == [2, 7]
    assert torch.equal(some.train.images, whole.train.images[[2, 7, 12, 17]])
    assert some.class_names == whole.class_names


def test_the_held_out_part_is_the_training_images_end(root: str) -> None:
    whole = load(DatasetConfig(name="mnist", root=root))
    data = load(DatasetConfig(name="mnist", root=root, holdout=0.25))
    assert torch.equal(data.train.images, whole.train.images[:15])
    assert torch.equal(data.test.images, whole.train.images[15:])
    assert torch.equal(data.test.labels, whole.train.labels[15:])


def test_classes_come_before_holdout_and_holdout_before_limit(root: str) -> None:
    data = load(DatasetConfig(name="mnist", root=root, classes=[0, 1, 2, 3], holdout=0.5, limit=3))
    assert data.train.labels.tolist() == [0, 1, 2]
    assert data.test.labels.tolist() == [0, 1, 2]
    whole = load(DatasetConfig(name="mnist", root=root))
    assert torch.equal(data.test.images, whole.train.images[10:13])


def test_a_limit_frees_the_rest(root: str) -> None:
    data = load(DatasetConfig(name="mnist", root=root, limit=2))
    assert len(data.train) == len(data.test) == 2
    assert data.train.images.untyped_storage().nbytes() == 2 * 5 * 4
    assert len(load(DatasetConfig(name="mnist", root=root, limit=10**9)).train) == 20


def test_a_home_directory_in_root_is_expanded(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", root)
    assert len(load(DatasetConfig(name="mnist", root="~")).train) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "nist"}, f"dataset.name=nist is unknown; choose {', '.join(NAMES)}"),
        ({"limit": 0}, "dataset.limit must be at least 1, or null for all images, not 0"),
        ({"holdout": 1.0}, r"dataset.holdout must lie in \[0, 1\), not 1.0"),
        ({"holdout": -0.1}, r"dataset.holdout must lie in \[0, 1\), not -0.1"),
        ({"holdout": float("nan")}, r"dataset.holdout must lie in \[0, 1\), not nan"),
        ({"holdout": 0.001}, "of 20 training images leaves 20 to train on and 0 to test on"),
        ({"holdout": 0.999}, "of 20 training images leaves 0 to train on and 20 to test on"),
        ({"classes": []}, "dataset.classes is empty"),
        ({"classes": [3, 10, -1]}, r"mnist lacks 10, -1; it has 0 \(0\), 1 \(1\), .*9 \(9\)$"),
        ({"root": ""}, "dataset.root is empty"),
        ({"path": "images"}, "dataset.path is for dataset=folder, not for dataset=mnist"),
        ({"size": [2, 2]}, "dataset.size is for dataset=folder"),
        ({"color": True}, "dataset.color is for dataset=folder"),
        ({"name": "folder"}, "dataset=folder needs dataset.path"),
    ],
)
def test_what_cannot_be_is_named(root: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        load(DatasetConfig(**{"name": "mnist", "root": root, **changes}))
    assert "\n" not in str(raised.value)


def test_a_damaged_file_is_no_silent_download(tiny: TinySet, root: str) -> None:
    path = Path(root, "MNIST/raw", TRAIN_IMAGES)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path} is damaged: SHA-256 "):
        load(DatasetConfig(name="mnist", root=root))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (TRAIN_IMAGES, np.zeros((20, 20), np.uint8), "2 dimensions instead of 3"),
        (TRAIN_LABELS, np.zeros(19, np.uint8), "19 labels for 20 images"),
        (TRAIN_LABELS, np.full(20, 10, np.uint8), "label 10 of 10 classes"),
    ],
)
def test_files_without_checksums_must_fit_each_other(
    name: str, array: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_set("kmnist", monkeypatch).write(tmp_path)
    config = DatasetConfig(name="kmnist", root=str(tmp_path))
    assert load(config).class_names[1] == "ki"
    (folder / name).write_bytes(encode(array))
    with pytest.raises(UserError, match=f"{name} is damaged: {message}"):
        load(config)


@pytest.mark.parametrize("name", ["mnist_sample", "fashion_mnist_sample"])
def test_the_samples_are_balanced_and_mixed(name: str) -> None:
    data = load(DatasetConfig(name=name, root="unused"))
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
        "from dcgmm_cli.config import DatasetConfig\nfrom dcgmm_cli.datasets import load\n"
        "load(DatasetConfig(name='mnist_sample'))"
    )
    assert "torch" in modules
    assert not {"torchvision", "PIL", "sklearn", "matplotlib", "hydra"} & set(modules)
