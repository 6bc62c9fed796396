"""`load`: the training and test images of a data set, or a part of them; `Listing` is what to choose from."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.datasets import sources, vision
from dcgmm.datasets.catalogue import KNOWN, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, KnownSet
from dcgmm.datasets.files import SourceError, damaged, folder_of, read_checked
from dcgmm.datasets.names import class_name
from dcgmm.datasets.options import OWN, DataPlaceOptions, DatasetOptions, not_for, root_of
from dcgmm.datasets.split import Failures, ImageData, Part, Report, Split
from dcgmm.errors import InputError, OptionError
from dcgmm.options import made


def load(
    name: str | DatasetOptions,
    *,
    classes: Iterable[int | str] | None = None,
    root: str | Path | None = None,
    report: Report | None = None,
    **fields: Any,
) -> ImageData:
    """Read a data set and cut it: classes first, then the held-out part, then the limit.

    Labels keep their values whatever classes are chosen. Of a folder no more is read than what is chosen; files that
    cannot be read are left out, with a warning.

    Args:
        name: of a known data set; `folder`, `arrays` or `parquet` for one's own images; or options, before whose
            fields all else that is given goes.
        classes: to keep, by name or number; None keeps all that have training images.
        root: where downloaded data sets and decoded images are kept; None is $DCGMM_DATA, else ~/.cache/dcgmm.
        report: called now and then while many files are decoded, with their number so far and in all.
        fields: more fields of `DatasetOptions`: limit, holdout; of a folder path, size, color, white, test_fraction,
            cache.

    Raises:
        InputError: an option is unknown or out of its range, or a file of a known data set is missing or damaged, or
            none of a folder is readable.

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("mnist_sample", classes=[0, "1"], limit=100)
        >>> data.train.images.shape, data.classes
        (torch.Size([100, 28, 28, 1]), (0, 1))
    """
    given = dict(vars(name)) if isinstance(name, DatasetOptions) else {"name": name}
    # Any collection of classes will do; what is none, their option refuses.
    several = isinstance(classes, Iterable) and not isinstance(classes, str)
    given |= {} if classes is None else {"classes": list(classes) if several else classes}
    given |= {} if root is None else {"root": str(root)}
    fields |= {"path": str(fields["path"])} if isinstance(fields.get("path"), Path) else {}
    options = made(DatasetOptions, given | fields)
    return Listing(options).load(options.classes, report)


class Found(Protocol):
    """A data set that was found: what there is of it, and its images once they are chosen."""

    class_names: tuple[str, ...]
    classes: tuple[int, ...]  # those to train on, if none are chosen
    source: str  # where it was found, in words
    labels: dict[Part, Tensor]  # (N,) each

    def read(self, part: Part, rows: Tensor, use: Part, report: Report | None) -> tuple[Split, Failures]:
        """Some images of a part, which they are read for in place of another (holdout), and what cannot be read."""
        ...


class Listing:
    """A data set of which it is known what images there are, before any of them is chosen.

    Args:
        options: which, and how it is cut; their `classes` are those of `load`.

    Raises:
        InputError: it is not there, or is no data set.

    Examples:
        >>> import dcgmm
        >>> listing = dcgmm.datasets.Listing(dcgmm.datasets.DatasetOptions(name="mnist_sample"))
        >>> listing.class_names[:3], len(listing.load([0, 1]).train)
        (('0', '1', '2'), 400)
    """

    def __init__(self, options: DatasetOptions) -> None:
        self._options = options
        if options.name not in OWN and options.path is not None:
            raise OptionError("path", not_for(options.name), options.path, DataPlaceOptions)
        if options.name == "folder":
            from dcgmm.datasets.folder import Folder  # imports Pillow

            self._found: Found = Folder(options)
        elif options.name == "arrays":
            from dcgmm.datasets.arrays import Arrays

            self._found = Arrays(options)
        elif options.name == "parquet":
            from dcgmm.datasets.parquet import Parquet

            self._found = Parquet(options)
        else:
            self._found = Known(KNOWN[options.name], root_of(options.root))
        self.class_names = self._found.class_names

    def load(self, classes: Sequence[int | str] | None, report: Report | None = None) -> ImageData:
        """Training and test images of some classes, each of which has training images.

        Args:
            classes: by name or number; None: all.
            report: as for the function `load`.

        Raises:
            InputError: there are no such classes or images, or the options cannot be for so few.
        """
        chosen = self._chosen(classes, Part.train)
        train, test = self._rows(chosen)
        train_split, failures = self._found.read(Part.train, train, Part.train, report)
        test_split, more = self._found.read(self._test_part, test, Part.test, report)
        return self._data(train_split, test_split, chosen, (*failures, *more))

    def load_test(self, classes: Sequence[int | str] | None, report: Report | None = None) -> ImageData:
        """Test images alone, also of classes without training images.

        Args:
            classes: by name or number; None: all that have test images.
            report: as for the function `load`.

        Raises:
            InputError: there are no such classes or images.
        """
        chosen = self._chosen(classes, self._test_part)
        rows = self._rows(chosen)[1]
        test, failures = self._found.read(self._test_part, rows, Part.test, report)
        none = Split(test.images[:0], test.labels[:0])
        return self._data(none, test, chosen, failures)

    def present(self, part: Part) -> tuple[int, ...]:
        """Labels of the classes that a part has images of."""
        return tuple(self._found.labels[part].unique().tolist())

    def _data(self, train: Split, test: Split, chosen: tuple[int, ...], failures: Failures) -> ImageData:
        return ImageData(self._options.name, train, test, self.class_names, self._found.source, chosen, tuple(failures))

    @property
    def _test_part(self) -> Part:
        """Where test images come from: with a holdout they are training images."""
        return Part.train if self._options.holdout > 0 else Part.test

    def _chosen(self, classes: Sequence[int | str] | None, part: Part) -> tuple[int, ...]:
        """Labels of given classes.

        Raises:
            OptionError: there is no such class, or it has no images in that part.
        """
        present, names = self.present(part), self.class_names
        if classes is None:
            return self._found.classes
        chosen = labels_of(classes, names)
        if lacking := [label for label in chosen if label not in present]:
            rule = f"some of those that {self._options.name} has {part} images of: {listed(present, names)}"
            raise OptionError("classes", rule, listed(lacking[:1], names), DatasetOptions)
        return chosen

    def _rows(self, chosen: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Rows of the training and of the test images of some classes, in the parts that these come from.

        Raises:
            OptionError: the holdout leaves nothing on one side.
        """
        options = self._options
        train, test = (
            torch.isin(self._found.labels[part], torch.tensor(chosen, dtype=torch.int64)).nonzero()[:, 0]
            for part in Part
        )
        if options.holdout > 0:
            kept = len(train) - round(options.holdout * len(train))
            if not 0 < kept < len(train):
                rule = f"such that of {len(train)} training images at least one is left to train on and one to test on"
                raise OptionError("holdout", rule, options.holdout, DatasetOptions)
            train, test = train[:kept], train[kept:]
        return train[: options.limit], test[: options.limit]


def at_hand(dataset: DatasetOptions, given: DataPlaceOptions | None = None) -> DatasetOptions:
    """A run's data set where it is now: as given, or where it was trained, or else under today's default root.

    The place says where data are, not what they are, and a run may be on another machine by now.
    """
    place = given or DataPlaceOptions()
    if place.path is not None:
        dataset = replace(dataset, path=place.path)
    if place.root is not None:
        return replace(dataset, root=place.root)
    known = KNOWN.get(dataset.name)
    folder = "" if known is None or known.kind == "sample" else known.folder  # other data need no root
    if dataset.root is None or os.path.isdir(Path(dataset.root).expanduser() / folder):  # Path.is_dir may raise
        return dataset
    return replace(dataset, root=None)


def labels_of(classes: Sequence[Any], names: Sequence[str]) -> tuple[int, ...]:
    """Labels of classes given by name or number; a name goes before a number that it looks like.

    Raises:
        OptionError: there is no such class.
    """
    known = {name: label for label, name in enumerate(names)}
    labels = []
    for given in classes:
        text = class_name(str(given).lower() if isinstance(given, bool) else str(given))  # [true] names a class, too
        label = known.get(text, int(text) if text.isdecimal() else -1)
        if not 0 <= label < len(names):
            raise OptionError("classes", f"some of {listed(range(len(names)), names)}", given, DatasetOptions)
        labels.append(label)
    return tuple(dict.fromkeys(labels))


def listed(labels: Iterable[int], names: Sequence[str]) -> str:
    """Classes in words, by label and name."""
    return ", ".join(str(label) if names[label] == str(label) else f"{label} ({names[label]})" for label in labels)


class Known:
    """A known data set's images."""

    def __init__(self, known: KnownSet, root: Path) -> None:
        self.class_names = known.class_names
        self.classes = tuple(range(len(known.class_names)))
        self.source = sources.provide(known, root)
        if known.kind == "torchvision":
            train, test = _read_torchvision(known, root)
        else:
            arrays = sources.read_idx(known, root)
            train = _idx_split(known, root, arrays, TRAIN_IMAGES, TRAIN_LABELS)
            test = _idx_split(known, root, arrays, TEST_IMAGES, TEST_LABELS)
        self._splits = {Part.train: train, Part.test: test}
        self.labels = {part: split.labels for part, split in self._splits.items()}

    def read(self, part: Part, rows: Tensor, use: Part, report: Report | None) -> tuple[Split, Failures]:
        """Some images of a part; a copy, so that the others need not be kept, unless they are all."""
        split = self._splits[part]
        return (split if len(rows) == len(split) else split[rows]), ()


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
    for name, array, dimensions in ((images_name, images, 3), (labels_name, labels, 1)):
        if array.ndim != dimensions:
            raise damaged(known, root, folder / name, f"{array.ndim} dimensions instead of {dimensions}")
        if not array.size:
            raise damaged(known, root, folder / name, "it holds nothing")
    if labels.shape != (len(images),):
        raise damaged(known, root, folder / labels_name, f"{len(labels):,} labels for {len(images):,} images")
    if labels.max() >= len(known.class_names):
        raise damaged(known, root, folder / labels_name, f"label {labels.max()} of {len(known.class_names)} classes")
    return Split(torch.from_numpy(images).unsqueeze(-1), torch.from_numpy(labels).long())
