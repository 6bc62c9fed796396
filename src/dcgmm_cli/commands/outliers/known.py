"""The images that a detector is judged by: inliers and outliers of which it is known what they are."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcgmm.datasets import DatasetOptions, ImageData, Listing
from dcgmm.datasets.catalogue import KNOWN
from dcgmm.datasets.images import known_images
from dcgmm.datasets.loading import labels_of, listed
from dcgmm.datasets.names import printable
from dcgmm.datasets.options import root_of
from dcgmm.datasets.split import Part
from dcgmm.errors import InputError, OptionError
from dcgmm_cli.progress import reported
from dcgmm_cli.schema import OutlierOptions
from dcgmm_cli.trained import OpenedRun


@dataclass(frozen=True)
class Known:
    """Images of one kind."""

    images: Tensor  # (N, H, W, C) uint8 or float in [0, 1]
    labels: Tensor  # (N,), -1 where unknown
    class_names: tuple[str, ...]  # of the labels
    names: list[str] | None  # file names, for images that come from files
    source: str
    failed: int  # files that could not be read
    masks: tuple[Path | None, ...] | None = None  # files that mark defects, where there are such

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, data: ImageData, dataset: DatasetOptions) -> "Known":
        """The test images of a data set."""
        files, test = data.test.files, data.test
        root = dataset.path or ""
        names = None if files is None else [printable(Path(os.path.relpath(path, root)).as_posix()) for path in files]
        whole = len(data.classes) == len(data.class_names)
        source = data.name if whole else f"{data.name} {','.join(data.chosen_names)}"
        return cls(test.images, test.labels, data.class_names, names, source, len(data.failures), test.masks)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that there are images of; none where they are not known."""
        return [self.class_names[label] for label in self.labels.unique().tolist() if label >= 0]


def known_inliers(opened: OpenedRun, listing: Listing) -> Known:
    """The run's test images.

    Raises:
        InputError: there are none.
    """
    with reported("decode", "images") as report:
        data = listing.load_test(opened.config.dataset.classes, report)
    if not len(data.test):
        raise InputError(
            f"{data.name} has no test images of the run's classes ({', '.join(data.chosen_names)}): "
            "set aside some by dataset.holdout"
        )
    return Known.of(data, opened.config.dataset)


def known_outliers(options: OutlierOptions, opened: OpenedRun, listing: Listing) -> Known:
    """The images that count as outliers: of a path, of another data set, or of other classes of the run's own.

    Raises:
        InputError: there are none, they were trained on, or they have another shape than the model's.
    """
    own, shape = opened.config.dataset, opened.model.input_shape
    if options.path is not None:
        root = root_of(own.root) if own.cache else None
        with reported("decode", "images") as report:
            batch = known_images(options.path, opened.run.preparation, root, report)
        unknown = torch.full((len(batch.names),), -1)
        return Known(batch.images, unknown, (), batch.names, printable(options.path), len(batch.failures))
    if options.dataset in (None, own.name):
        dataset = replace(own, classes=_other_classes(options.classes, opened, listing))
    else:
        dataset = _other_set(options, own)
        listing = Listing(dataset)
    with reported("decode", "images") as report:
        data = listing.load_test(dataset.classes, report)
    if tuple(data.test.images.shape[1:]) != tuple(shape) and len(data.test):
        given = "x".join(map(str, data.test.images.shape[1:]))
        raise InputError(f"outliers.dataset={dataset.name} has images of {given}, the model takes {shape}")
    found = Known.of(data, dataset)
    if not len(found):
        raise InputError(f"{found.source} has no test images to be outliers: give other outliers.classes")
    return found


def _other_set(options: OutlierOptions, own: DatasetOptions) -> DatasetOptions:
    """The data set of `outliers.dataset`, cut as the run's own."""
    assert options.dataset is not None
    names = KNOWN[options.dataset].class_names
    classes = None if options.classes is None else [names[label] for label in _labels(options.classes, names)]
    return replace(own, name=options.dataset, classes=classes, path=None, size=None, color=False, white=None)


def _other_classes(classes: list[Any] | None, opened: OpenedRun, listing: Listing) -> list[str]:
    """Names of outlier classes of the run's own data set: of those that have images today.

    Raises:
        InputError: a class was trained on, or none is left.
    """
    own, names = opened.config.dataset, listing.class_names
    trained = {label for label, name in enumerate(names) if name in opened.run.classes}
    present = listing.present(Part.train if own.holdout > 0 else Part.test)
    others = [label for label in range(len(names)) if label not in trained and label in present]
    if not others:
        held = "its held-out part" if own.holdout > 0 else own.name
        raise InputError(
            f"the run was trained on all classes of {held}, which leaves no outliers: give outliers.dataset=NAME "
            "or outliers.path=FOLDER, or train on some classes only (dataset.classes=[0,1,2]; of a folder also by "
            "leaving others out of train/)"
        )
    if classes is None:
        return [names[label] for label in others]
    chosen = _labels(classes, names, trained)
    if both := [label for label in chosen if label in trained]:
        raise InputError(
            f"outliers.classes: the run was trained on {listed(both, names)}; "
            f"choose from the others, {listed(others, names)}"
        )
    if lacking := [label for label in chosen if label not in others]:
        rule = f"some of those that have images to be outliers: {listed(others, names)}"
        raise OptionError("classes", rule, listed(lacking[:1], names), OutlierOptions)
    return [names[label] for label in chosen]


def _labels(classes: Sequence[Any], names: Sequence[str], but: Collection[int] = ()) -> list[int]:
    """Labels of classes given by name or number.

    Raises:
        OptionError: there is no such class, or the list is empty.
    """
    found: list[int] = []
    for given in classes or [None]:
        try:
            found += labels_of([given], names)
        except OptionError:
            has = listed([label for label in range(len(names)) if label not in but], names)
            raise OptionError("classes", f"some of {has}", given or [], OutlierOptions) from None
    return found
