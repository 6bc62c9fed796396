"""A folder of images as a data set."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dcgmm.datasets.options import DatasetOptions
from dcgmm.datasets.pixels import SUFFIXES, ImageError, image_files, read_pixels
from dcgmm.datasets.split import ImageData, Split
from dcgmm.errors import InputError, OptionError

log = logging.getLogger(__name__)

Classes = dict[str, list[Path]]  # class name: its image files, sorted


def read_folder(path: str, size: list[int] | None, color: bool, test_fraction: float) -> ImageData:
    """Read a folder of images: classes are its sub-folders, or those of its `train/` and `test/`, sorted by name.

    A folder without sub-folders is one class, "0". Without `train/` and `test/`, a share of each class becomes the
    test set: images spread evenly over the sorted file names, always the same ones. Images of all classes
    alternate, so that the first or last part of a split is a fair part of it.

    Args:
        path: the folder.
        size: height and width that images are resized to; None where all have one size.
        color: three channels instead of one.
        test_fraction: share of each class that becomes the test set, in [0, 1).

    Raises:
        InputError: the folder is missing or empty, an image is unreadable or of another size than the first, or an
            argument cannot be.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise OptionError("path", "a folder of images", path, DatasetOptions)
    if (root / "train").is_dir() and (root / "test").is_dir():
        train, test = _classes(root / "train"), _classes(root / "test")
    else:
        train, test = _divide(_classes(root), test_fraction)
    names = tuple(sorted({*train, *test}))
    train_files, test_files = _interleaved(train), _interleaved(test)
    resize = None if size is None else (size[0], size[1])
    shape = _pixels(train_files[0][1], color, resize).shape
    train_split, test_split = (_read(files, names, shape, color, resize) for files in (train_files, test_files))
    return ImageData("folder", train_split, test_split, names, str(root), tuple(range(len(names))))


def _classes(folder: Path) -> Classes:
    """Image files of a folder by class.

    Raises:
        InputError: there are none.
    """
    try:
        subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from None
    classes = {path.name: files for path in subfolders if (files := image_files(path))}
    if not subfolders:
        classes = {"0": files} if (files := image_files(folder)) else {}
    if not classes:
        raise InputError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    loose = sum(path.parent == folder for path in image_files(folder)) if subfolders else 0
    if loose:
        log.warning("%s: %d images beside the sub-folders have no class and are left out", folder, loose)
    return classes


def _divide(classes: Classes, test_fraction: float) -> tuple[Classes, Classes]:
    """Training and test files of each class."""
    train: Classes = {}
    test: Classes = {}
    for name, files in classes.items():
        count = int(test_fraction * len(files) + 1e-9)  # 0.29 * 100 is a little under 29
        for index, file in enumerate(files):
            is_test = (index + 1) * count // len(files) > index * count // len(files)
            (test if is_test else train).setdefault(name, []).append(file)
    return train, test


def _interleaved(classes: Classes) -> list[tuple[str, Path]]:
    """All files with their classes, each class spread evenly over the whole."""
    ranked = [
        ((index + 0.5) / len(files), name, file) for name, files in classes.items() for index, file in enumerate(files)
    ]
    return [(name, file) for _, name, file in sorted(ranked)]


def _read(
    files: list[tuple[str, Path]],
    class_names: tuple[str, ...],
    shape: tuple[int, ...],  # H, W, C
    color: bool,
    resize: tuple[int, int] | None,
) -> Split:
    """The images of some files.

    Raises:
        InputError: an image is unreadable, or has another shape.
    """
    images = np.empty((len(files), *shape), np.uint8)
    for index, (_, path) in enumerate(files):
        pixels = _pixels(path, color, resize)
        if pixels.shape != shape:
            found = f"{path} has {pixels.shape[0]}x{pixels.shape[1]} pixels, the first image {shape[0]}x{shape[1]}"
            rule = f"[height, width] to bring all images to one size ({found})"
            raise OptionError("size", rule, None, DatasetOptions)
        images[index] = pixels
    labels = [class_names.index(name) for name, _ in files]
    return Split(torch.from_numpy(images), torch.tensor(labels, dtype=torch.int64))


def _pixels(path: Path, color: bool, resize: tuple[int, int] | None) -> NDArray[np.uint8]:
    try:
        return read_pixels(path, color, resize)
    except ImageError as error:
        raise InputError(f"{path}: {error}; mend or remove it") from None
