"""The images that a detector is judged by: inliers and outliers of which it is known what they are."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dcgmm.datasets import DatasetOptions, load
from dcgmm.datasets.catalogue import KNOWN
from dcgmm.datasets.images import load_images
from dcgmm.datasets.loading import labels_of, listed
from dcgmm.errors import InputError, OptionError
from dcgmm.model import Shape
from dcgmm_cli.schema import OutlierOptions
from dcgmm_cli.trained import OpenedRun

log = logging.getLogger(__name__)

SHOWN_FAILURES = 10


@dataclass(frozen=True)
class Known:
    """Images of one kind."""

    images: Tensor  # (N, H, W, C) uint8 or float in [0, 1]
    labels: Tensor  # (N,), -1 where unknown
    names: list[str] | None  # file names, for images that come from files
    source: str

    def __len__(self) -> int:
        return len(self.labels)


def known_inliers(opened: OpenedRun) -> Known:
    """The run's test images.

    Raises:
        InputError: there are none.
    """
    data = opened.data()
    if not len(data.test):
        raise InputError(f"{data.name} has no test images of the run's classes: set aside some by dataset.holdout")
    return Known(data.test.images, data.test.labels, None, _describe(opened.config.dataset))


def known_outliers(options: OutlierOptions, opened: OpenedRun) -> Known:
    """The images that count as outliers: of a path, of another data set, or of other classes of the run's own.

    Raises:
        InputError: there are none, they were trained on, or they have another shape than the model's.
    """
    own, shape = opened.config.dataset, opened.model.input_shape
    if options.path is not None:
        return _read(options.path, shape)
    if options.dataset in (None, own.name):
        dataset = replace(own, classes=_other_classes(options.classes, own, opened.run.class_names))
    else:
        dataset = _other_set(options, own)
    test = load(dataset).test
    if tuple(test.images.shape[1:]) != tuple(shape):
        given = "x".join(map(str, test.images.shape[1:]))
        raise InputError(f"outliers.dataset={dataset.name} has images of {given}, the model takes {shape}")
    if not len(test):
        raise InputError(f"{_describe(dataset)} has no test images to be outliers")
    return Known(test.images, test.labels, None, _describe(dataset))


def _read(path: str, shape: Shape) -> Known:
    batch = load_images(path, shape)
    for name, reason in batch.failures[:SHOWN_FAILURES]:
        log.warning("left out %s: %s", name, reason)
    count, failed = len(batch.names), len(batch.failures)
    if not count:
        raise InputError(f"outliers.path={path}: none of its {failed} images can be used: {batch.failures[0][1]}")
    if failed:
        log.warning("left out %d of %d images of %s", failed, failed + count, path)
    return Known(batch.images, torch.full((count,), -1), batch.names, path)


def _other_set(options: OutlierOptions, own: DatasetOptions) -> DatasetOptions:
    """The data set of `outliers.dataset`, cut as the run's own."""
    assert options.dataset is not None
    classes = _labels(options.classes, KNOWN[options.dataset].class_names)
    return replace(own, name=options.dataset, classes=classes, path=None, size=None, color=False)


def _other_classes(classes: list[Any] | None, own: DatasetOptions, names: Sequence[str]) -> list[int]:
    """Outlier classes of the run's own data set.

    Raises:
        InputError: a class was trained on, or none is left.
    """
    trained = set(range(len(names)) if own.classes is None else labels_of(own.classes, names))
    others = [label for label in range(len(names)) if label not in trained]
    if not others:
        raise InputError(
            f"the run was trained on all classes of {own.name}, which leaves no outliers: give outliers.dataset=NAME "
            "or outliers.path=FOLDER, or train on some classes only (dataset.classes=[0,1,2])"
        )
    chosen = _labels(classes, names, trained)
    if both := [label for label in chosen or () if label in trained]:
        raise InputError(
            f"outliers.classes: the run was trained on {', '.join(map(str, both))}; "
            f"choose from the others, {', '.join(map(str, others))}"
        )
    return others if chosen is None else chosen


def _labels(classes: Sequence[Any] | None, names: Sequence[str], but: Collection[int] = ()) -> list[int] | None:
    """Labels of classes given by number or name; None where none are.

    Raises:
        OptionError: there is no such class, or the list is empty.
    """
    if classes is None:
        return None
    found: list[int] = []
    for given in classes or [None]:
        try:
            found += labels_of([given], names)
        except OptionError:
            has = listed([label for label in range(len(names)) if label not in but], names)
            raise OptionError("classes", f"some of {has}", given or [], OutlierOptions) from None
    return found


def _describe(dataset: DatasetOptions) -> str:
    return dataset.name if dataset.classes is None else f"{dataset.name} {','.join(map(str, dataset.classes))}"
