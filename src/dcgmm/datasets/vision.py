"""The one place that imports torchvision: it downloads data sets, and reads those that have a format of their own."""

import contextlib
import importlib
import os
import re
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from dcgmm.datasets.catalogue import KnownSet
from dcgmm.datasets.files import SourceError, no_empty_folders
from dcgmm.datasets.split import Split
from dcgmm.errors import InputError
from dcgmm.files import DAY, TEMPORARY, sweep_temporary

STALL = 30.0  # seconds without a byte after which a download fails

_CLASSES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "cifar10": "CIFAR10", "svhn": "SVHN"}
_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = {"torchvision::nms": _BOXES, "torchvision::qnms": _BOXES}


def torchvision_datasets() -> ModuleType:
    """`torchvision.datasets`, also where torchvision was built for another build of torch.

    Such a torchvision (say, built for CUDA, beside a CPU build of torch) lacks its compiled operators, and its
    import fails on the first one that it mentions. Data sets need none of them: they are declared, then it imports.

    Raises:
        SourceError: torchvision is not installed, or cannot be imported for another reason.
    """
    for _ in range(len(_OPERATORS) + 1):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Failed to load image Python extension", UserWarning)
                return importlib.import_module("torchvision.datasets")
        except ImportError as error:
            raise SourceError(f"torchvision cannot be imported: {error}") from None
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None or missing.group(1) not in _OPERATORS:
                raise SourceError(f"torchvision cannot be imported: {_brief(error)}") from None
            torch.library.define(missing.group(1), _OPERATORS[missing.group(1)])
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
    raise SourceError("torchvision cannot be imported: it lacks its operators")


def download(known: KnownSet, root: Path) -> None:
    """Let torchvision download a data set, and put its files under the root once all of them are there.

    Raises:
        SourceError: torchvision cannot be imported, or cannot download or check a file.
        InputError: the root cannot be written.
    """
    folder = root / known.folder
    try:
        with no_empty_folders(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep_temporary(root, older=DAY)
            # Under the root, so that moving the files is renaming them.
            with tempfile.TemporaryDirectory(prefix=".download-", suffix=TEMPORARY, dir=root) as place:
                _download(known.name, place)
                for name in known.files:
                    os.replace(Path(place, known.folder, name), folder / name)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or folder}: {error.strerror}") from None


def idx_files(known: KnownSet, names: Iterable[str]) -> dict[str, bytes | bytearray]:
    """Unpacked idx files of a data set, downloaded by torchvision.

    Raises:
        SourceError: torchvision cannot be imported, or cannot download or check a file.
    """
    with tempfile.TemporaryDirectory(prefix="dcgmm-") as place:
        _download(known.name, place)
        return {name: Path(place, known.folder, name).read_bytes() for name in names}


def read(known: KnownSet, root: Path) -> tuple[Split, Split]:
    """Training and test images of a data set in a format of its own.

    Raises:
        SourceError: torchvision cannot be imported, or cannot read the files.
    """
    module = torchvision_datasets()
    try:
        return _split(_open(module, known.name, root, train=True)), _split(_open(module, known.name, root, train=False))
    except Exception as error:  # whatever pickle, scipy or torchvision's own checks raise
        raise SourceError(_brief(error)) from None


def _download(name: str, folder: str) -> None:
    module = torchvision_datasets()
    try:
        # Older versions report on standard output, which is kept for results.
        with _stall_limit(), contextlib.redirect_stdout(sys.stderr):
            for train in (True, False):
                _open(module, name, folder, train, download=True)
    except Exception as error:  # whatever urllib, tarfile or torchvision's own checks raise
        raise SourceError(_brief(error)) from None


def _open(module: ModuleType, name: str, root: Path | str, train: bool, download: bool = False) -> Any:
    which: dict[str, Any] = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
    with warnings.catch_warnings():
        # CIFAR-10's files were pickled by an old NumPy in a way that new ones deprecate.
        warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
        return getattr(module, _CLASSES[name])(str(root), **which, download=download)


def _split(data: Any) -> Split:
    if hasattr(data, "labels"):  # SVHN, channel first
        images, labels = data.data.transpose(0, 2, 3, 1), data.labels
    else:
        images, labels = data.data, data.targets
    return Split(
        torch.from_numpy(np.ascontiguousarray(images, np.uint8)), torch.from_numpy(np.asarray(labels, np.int64))
    )


@contextlib.contextmanager
def _stall_limit() -> Iterator[None]:
    # torchvision gives urllib no time limit: where packets are dropped it would wait for minutes.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _brief(error: Exception) -> str:
    """The last line of an error, where torchvision says what happened to the last mirror."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].removeprefix("<urlopen error ").removesuffix(">")[:120]
