"""`load`: the training and test images of a data set, or a part of them."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dcgmm.datasets import sources, vision
from dcgmm.datasets.catalogue import KNOWN, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, KnownSet
from dcgmm.datasets.files import SourceError, damaged, folder_of, read_checked
from dcgmm.datasets.options import DataRootOptions, DatasetOptions
from dcgmm.datasets.split import ImageData, Split
from dcgmm.errors import InputError, OptionError
from dcgmm.options import made


def load(
    name: str | DatasetOptions,
    *,
    classes: Iterable[int | str] | None = None,
    root: str | Path | None = None,
    **fields: Any,
) -> ImageData:
    """Read a data set and cut it: classes first, then the held-out part, then the limit.

    Labels keep their values whatever classes are chosen.

    Args:
        name: of a known data set, `folder` for one's own images, or options; what else is given goes before theirs.
        classes: to keep, by number or name; None keeps all.
        root: where downloaded data sets are kept; None is $DCGMM_DATA, else ~/.cache/dcgmm.
        fields: more fields of `DatasetOptions`: limit, holdout; of a folder path, size, color, test_fraction.

    Raises:
        InputError: an option is unknown or out of its range, or a file is missing, damaged or unreadable.

    Example:
        >>> data = load("mnist_sample", classes=[0, "1"], limit=100)
        >>> data.train.images.shape, data.classes
        (torch.Size([100, 28, 28, 1]), (0, 1))
    """
    given = dict(vars(name)) if isinstance(name, DatasetOptions) else {"name": name}
    # Any collection of classes will do; what is none, their option refuses.
    several = isinstance(classes, Iterable) and not isinstance(classes, str)
    given |= {} if classes is None else {"classes": list(classes) if several else classes}
    given |= {} if root is None else {"root": str(root)}
    options = made(DatasetOptions, given | fields)
    data = (
        _read_folder(options) if options.name == "folder" else _read_known(KNOWN[options.name], root_of(options.root))
    )
    train, test, kept_classes = data.train, data.test, data.classes
    if options.classes is not None:
        kept_classes = labels_of(options.classes, data.class_names)
        train, test = _of_classes(data, kept_classes)
    if options.holdout > 0:
        kept = len(train) - round(options.holdout * len(train))
        if not 0 < kept < len(train):
            rule = f"such that of {len(train)} training images at least one is left to train on and one to test on"
            raise OptionError("holdout", rule, options.holdout, DatasetOptions)
        train, test = train[:kept], train[kept:]
    if options.limit is not None:
        train, test = _copy(train[: options.limit]), _copy(test[: options.limit])
    return ImageData(data.name, train, test, data.class_names, data.source, kept_classes)


def root_of(root: str | None) -> Path:
    """The folder that data sets are kept in.

    Raises:
        OptionError: it is empty.
    """
    if root == "":
        raise OptionError("root", "a folder (DCGMM_DATA sets it for all commands)", root, DataRootOptions)
    return Path(root or os.environ.get("DCGMM_DATA") or Path.home() / ".cache" / "dcgmm").expanduser()


def at_hand(dataset: DatasetOptions) -> DatasetOptions:
    """A run's data set where it is now: under the root it was trained with, or else under today's default.

    The root says where data are, not what they are, and a run may be on another machine by now.
    """
    known = KNOWN.get(dataset.name)
    folder = "" if known is None or known.kind == "sample" else known.folder  # other data need no root
    if dataset.root is None or os.path.isdir(Path(dataset.root).expanduser() / folder):  # Path.is_dir may raise
        return dataset
    return replace(dataset, root=None)


def labels_of(classes: Sequence[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """Labels of classes given by number or name.

    Raises:
        OptionError: there is no such class.
    """
    known = {name: label for label, name in enumerate(names)}
    labels = []
    for given in classes:
        label = known.get(given, int(given) if given.isdecimal() else -1) if isinstance(given, str) else given
        if type(label) is not int or not 0 <= label < len(names):
            raise OptionError("classes", f"some of {listed(range(len(names)), names)}", given, DatasetOptions)
        labels.append(label)
    return tuple(dict.fromkeys(labels))


def listed(labels: Iterable[int], names: Sequence[str]) -> str:
    """Classes in words, by label and name."""
    return ", ".join(str(label) if names[label] == str(label) else f"{label} ({names[label]})" for label in labels)


def _read_folder(options: DatasetOptions) -> ImageData:
    from dcgmm.datasets.folder import read_folder  # imports Pillow

    assert options.path is not None  # the options see to it
    return read_folder(options.path, options.size, options.color, options.test_fraction)


def _read_known(known: KnownSet, root: Path) -> ImageData:
    source = sources.provide(known, root)
    if known.kind == "torchvision":
        train, test = _read_torchvision(known, root)
    else:
        arrays = sources.read_idx(known, root)
        train = _idx_split(known, root, arrays, TRAIN_IMAGES, TRAIN_LABELS)
        test = _idx_split(known, root, arrays, TEST_IMAGES, TEST_LABELS)
    return ImageData(known.name, train, test, known.class_names, source, tuple(range(len(known.class_names))))


def _read_torchvision(known: KnownSet, root: Path) -> tuple[Split, Split]:
    try:
        return vision.read(known, root)
    except SourceError as error:
        for name in known.files:
            read_checked(known, root, name)  # names the file that is at fault
        raise InputError(f"data set {known.name}: {folder_of(known, root)} cannot be read: {error}") from None


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


def _of_classes(data: ImageData, classes: Sequence[int]) -> tuple[Split, Split]:
    present = sorted({*data.train.labels.tolist(), *data.test.labels.tolist()})
    if lacking := [label for label in classes if label not in present]:
        rule = f"some of those that {data.name} has images of: {listed(present, data.class_names)}"
        raise OptionError("classes", rule, lacking[0], DatasetOptions)
    train, test = (part[torch.isin(part.labels, torch.tensor(classes))] for part in (data.train, data.test))
    if not len(train):
        rule = f"such that {data.name} has training images of one"
        raise OptionError("classes", rule, list(classes), DatasetOptions)
    return train, test


def _copy(split: Split) -> Split:
    # So that the images beyond the limit need not be kept.
    return Split(split.images.clone(), split.labels.clone())
