"""`load`: the training and test images that a configuration asks for."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf

from dcgmm_cli.config import DatasetConfig
from dcgmm_cli.datasets import sources, vision
from dcgmm_cli.datasets.catalogue import KNOWN, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, KnownSet
from dcgmm_cli.datasets.files import SourceError, damaged, folder_of, read_checked
from dcgmm_cli.datasets.split import ImageData, Split
from dcgmm_cli.errors import UserError

NAMES = (*KNOWN, "folder")


def load(config: DatasetConfig) -> ImageData:
    """Read a data set and cut it as configured: classes first, then the held-out part, then the limit.

    Labels keep their values whatever classes are chosen.

    Raises:
        UserError: a value of the configuration cannot be, or a file is missing, damaged or unreadable.
    """
    _check(config)
    data = _read_folder(config) if config.name == "folder" else _read_known(KNOWN[config.name], root_of(config.root))
    train, test = data.train, data.test
    if config.classes is not None:
        train, test = _of_classes(data, config.classes)
    if config.holdout > 0:
        kept = len(train) - round(config.holdout * len(train))
        if not 0 < kept < len(train):
            raise UserError(
                f"dataset.holdout={config.holdout} of {len(train)} training images leaves "
                f"{kept} to train on and {len(train) - kept} to test on: both need one"
            )
        train, test = train[:kept], train[kept:]
    if config.limit is not None:
        train, test = _copy(train[: config.limit]), _copy(test[: config.limit])
    return ImageData(data.name, train, test, data.class_names, data.source)


def root_of(root: str) -> Path:
    """The folder that a `dataset.root` key names; the key's own default names it by an interpolation.

    Raises:
        UserError: it is empty.
    """
    if not root:
        raise UserError("dataset.root is empty: give a folder (DCGMM_DATA sets it for all commands)")
    return Path(OmegaConf.create({"root": root}).root).expanduser()


def _check(config: DatasetConfig) -> None:
    if config.name not in NAMES:
        raise UserError(f"dataset.name={config.name} is unknown; choose {', '.join(NAMES)}")
    if config.limit is not None and config.limit < 1:
        raise UserError(f"dataset.limit must be at least 1, or null for all images, not {config.limit}")
    if not 0 <= config.holdout < 1:
        raise UserError(f"dataset.holdout must lie in [0, 1), not {config.holdout}")
    if config.classes is not None and not config.classes:
        raise UserError("dataset.classes is empty: name at least one class, or null for all")
    if config.name != "folder":
        given = {"path": config.path is not None, "size": config.size is not None, "color": config.color}
        for key in (key for key, value in given.items() if value):
            raise UserError(f"dataset.{key} is for dataset=folder, not for dataset={config.name}")


def _read_folder(config: DatasetConfig) -> ImageData:
    from dcgmm_cli.datasets.folder import read_folder  # imports Pillow

    if config.path is None:
        raise UserError("dataset=folder needs dataset.path=DIRECTORY, a folder of images")
    return read_folder(config.path, config.size, config.color, config.test_fraction)


def _read_known(known: KnownSet, root: Path) -> ImageData:
    source = sources.provide(known, root)
    if known.kind == "torchvision":
        train, test = _read_torchvision(known, root)
    else:
        arrays = sources.read_idx(known, root)
        train = _idx_split(known, root, arrays, TRAIN_IMAGES, TRAIN_LABELS)
        test = _idx_split(known, root, arrays, TEST_IMAGES, TEST_LABELS)
    return ImageData(known.name, train, test, known.class_names, source)


def _read_torchvision(known: KnownSet, root: Path) -> tuple[Split, Split]:
    try:
        return vision.read(known, root)
    except SourceError as error:
        for name in known.files:
            read_checked(known, root, name)  # names the file that is at fault
        raise UserError(f"dataset={known.name}: {folder_of(known, root)} cannot be read: {error}") from None


def _idx_split(
    known: KnownSet, root: Path, arrays: dict[str, NDArray[np.uint8]], images_name: str, labels_name: str
) -> Split:
    images, labels = arrays[images_name], arrays[labels_name]
    folder = folder_of(known, root)
    if images.ndim != 3:
        raise damaged(known, root, folder / images_name, f"{images.ndim} dimensions instead of 3")
    if labels.shape != (len(images),):
        raise damaged(known, root, folder / labels_name, f"{len(labels):,} labels for {len(images):,} images")
    if labels.size and labels.max() >= len(known.class_names):
        raise damaged(known, root, folder / labels_name, f"label {labels.max()} of {len(known.class_names)} classes")
    return Split(torch.from_numpy(images).unsqueeze(-1), torch.from_numpy(labels).long())


def _of_classes(data: ImageData, classes: list[int]) -> tuple[Split, Split]:
    present = sorted({*data.train.labels.tolist(), *data.test.labels.tolist()})
    if lacking := [label for label in classes if label not in present]:
        has = ", ".join(f"{label} ({data.class_names[label]})" for label in present)
        raise UserError(f"dataset.classes: {data.name} lacks {', '.join(map(str, lacking))}; it has {has}")
    train, test = (part[torch.isin(part.labels, torch.tensor(classes))] for part in (data.train, data.test))
    if not len(train):
        raise UserError(f"dataset.classes: {data.name} has training images of none of {', '.join(map(str, classes))}")
    return train, test


def _copy(split: Split) -> Split:
    # So that the images beyond the limit need not be kept.
    return Split(split.images.clone(), split.labels.clone())
