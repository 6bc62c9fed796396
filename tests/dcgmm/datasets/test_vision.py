import hashlib
import importlib
import pickle
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from dcgmm.datasets import DatasetOptions, load, vision
from dcgmm.datasets.catalogue import KNOWN
from dcgmm.datasets.files import DamagedFileError, SourceError
from dcgmm.datasets.vision import idx_files, torchvision_datasets
from tests.refusals import refused

from .conftest import tiny_set


def test_torchvision_can_be_imported_beside_any_build_of_torch() -> None:
    assert torchvision_datasets().MNIST.__name__ == "MNIST"


class Importer:
    """Fails like a torchvision without its operators until all of `lacking` are declared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lacking: str) -> None:
        self.lacking, self.declared = lacking, list[str]()
        monkeypatch.setattr(importlib, "import_module", self._import)
        monkeypatch.setattr(torch.library, "define", lambda name, schema: self.declared.append(name))
        monkeypatch.setitem(sys.modules, "torchvision.leftover", ModuleType("leftover"))

    def _import(self, name: str) -> ModuleType:
        for operator in self.lacking:
            if operator not in self.declared:
                raise RuntimeError(f"operator {operator} does not exist")
        return ModuleType(name)


def test_operators_that_torchvision_lacks_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    importer = Importer(monkeypatch, "torchvision::nms", "torchvision::qnms")
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
    assert torchvision_datasets().__name__ == "torchvision.datasets"
    assert importer.declared == ["torchvision::nms", "torchvision::qnms"]
    assert "torchvision.leftover" not in sys.modules
    sys.modules.update(before)


def test_another_failure_of_torchvision_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Importer(monkeypatch, "torchvision::unheard_of")
    with pytest.raises(SourceError, match=r"torchvision cannot be imported: operator torchvision::unheard_of"):
        torchvision_datasets()

    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'torchvision'")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SourceError, match="No module named 'torchvision'"):
        torchvision_datasets()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        assert socket.getdefaulttimeout() == vision.STALL
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.usefixtures("offline")
def test_offline_the_mirrors_fail_in_few_words() -> None:
    with pytest.raises(SourceError, match=r"^Name or service not known$"):
        idx_files(KNOWN["mnist"], ["train-labels-idx1-ubyte"])
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["kmnist", "cifar10", "svhn"])
def test_offline_a_set_fails_cleanly(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with refused(f"data set {name}:", root, "mirrors (Name or service not known)"):
        load(DatasetOptions(name=name, root=str(root)))
    assert not root.exists()


def test_idx_files_come_from_torchvisions_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny = tiny_set("mnist", monkeypatch)
    monkeypatch.setattr(torchvision_datasets().MNIST, "download", lambda self: tiny.write(Path(self.root)))
    assert idx_files(tiny.known, list(tiny.contents)) == tiny.contents


class OldType:
    """Pickles as NumPy's types did when CIFAR-10 was made, with a number for `align`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("u1", 0, 1)


def _write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tiny CIFAR-10: five batches of two images and a test batch."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    sums = {}
    for index, name in enumerate(KNOWN["cifar10"].files):
        content: dict[str, Any] = {"label_names": list(KNOWN["cifar10"].class_names), "type": OldType()}
        if name != "batches.meta":
            part = images[2 * index : 2 * index + 2].transpose(0, 3, 1, 2)
            content = {"data": part.reshape(2, -1), "labels": [index, 9 - index], "type": OldType()}
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    cls = torchvision_datasets().CIFAR10
    monkeypatch.setattr(cls, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(cls, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": sums["batches.meta"]})
    monkeypatch.setitem(KNOWN, "cifar10", replace(KNOWN["cifar10"], files=sums))
    return images


def _write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tiny SVHN: three training and two test images; the digit 0 is labelled 10."""
    root.mkdir(exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    sums, splits = {}, {}
    for split, part, labels in (("train", images[:3], [10, 1, 9]), ("test", images[3:], [2, 10])):
        name = f"{split}_32x32.mat"
        content = {"X": part.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, np.newaxis]}
        scipy.io.savemat(root / name, content)
        sums[name] = hashlib.md5((root / name).read_bytes()).hexdigest()
        splits[split] = ["address", name, sums[name]]
    monkeypatch.setattr(torchvision_datasets().SVHN, "split_list", splits)
    monkeypatch.setitem(KNOWN, "svhn", replace(KNOWN["svhn"], files=sums))
    return images


def test_cifar10_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _write_cifar10(tmp_path, monkeypatch)
    data = load(DatasetOptions(name="cifar10", root=str(tmp_path)))
    np.testing.assert_array_equal(data.train.images, images[:10])
    np.testing.assert_array_equal(data.test.images, images[10:])
    assert data.train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert data.test.labels.tolist() == [5, 4]
    assert data.class_names == tuple(torchvision_datasets().CIFAR10(str(tmp_path)).classes)


def test_svhn_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _write_svhn(tmp_path, monkeypatch)
    data = load(DatasetOptions(name="svhn", root=str(tmp_path)))
    np.testing.assert_array_equal(data.train.images, images[:3])
    np.testing.assert_array_equal(data.test.images, images[3:])
    assert data.train.labels.tolist() == [0, 1, 9]
    assert data.test.labels.tolist() == [2, 0]


def test_a_download_is_put_under_the_root_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    _write_svhn(source, monkeypatch)
    cls = torchvision_datasets().SVHN
    monkeypatch.setattr(cls, "download", lambda self: (source / self.filename).rename(Path(self.root, self.filename)))
    data = load(DatasetOptions(name="svhn", root=str(root)))
    assert data.source == f"torchvision's mirrors, kept in {root}"
    assert sorted(path.name for path in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]


@pytest.mark.parametrize(("name", "write"), [("cifar10", _write_cifar10), ("svhn", _write_svhn)])
def test_a_damaged_file_is_named(
    name: str, write: Callable[[Path, pytest.MonkeyPatch], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch)
    path = tmp_path / KNOWN[name].folder / next(iter(KNOWN[name].files))
    path.write_bytes(path.read_bytes()[:-1])
    with refused(path, "MD5", f"fetch=[{name}]", kind=DamagedFileError):
        load(DatasetOptions(name=name, root=str(tmp_path)))
