"""A folder of images as a data set: listed once, read when it is known which images are wanted."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dcgmm.datasets.cache import Selection
from dcgmm.datasets.decoded import SizesDifferError, decoded_images
from dcgmm.datasets.decoding import Decoding
from dcgmm.datasets.layout import ImageFile, interleaved, layout_of
from dcgmm.datasets.names import enumerated, printable
from dcgmm.datasets.options import OWN, DataPlaceOptions, DatasetOptions, root_of
from dcgmm.datasets.pixels import warn_of
from dcgmm.datasets.split import Failures, Part, Report, Split
from dcgmm.datasets.walking import walk
from dcgmm.errors import InputError, OptionError

log = logging.getLogger(__name__)

TWELVE_BITS = 4095  # data of 12 bits reach no further: in images of 16 they would be nearly black


class ImageFiles:
    """Images that are listed with their labels, and read when it is known which of them are wanted.

    Args:
        options: how they are read, and where they lie.
        names: of the classes.
        listed: files of each part, with their labels.
    """

    def __init__(
        self, options: DatasetOptions, names: tuple[str, ...], listed: dict[Part, list[tuple[int, ImageFile]]]
    ) -> None:
        assert options.path is not None  # the options see to it
        self._root, self._options, self._listed = Path(options.path), options, listed
        self.class_names, self.source = names, printable(options.path)
        self.labels = {
            part: torch.tensor([label for label, _ in files], dtype=torch.int64) for part, files in listed.items()
        }
        self.classes = tuple(self.labels[Part.train].unique().tolist())  # those to train on, if none are chosen
        self._shape: tuple[int, int, int] | None = None  # of the first image that is read: all others must have it
        size = None if options.size is None else (options.size[0], options.size[1])
        self._how = Decoding(options.color, size, options.white)
        self._kept_under = root_of(options.root) if options.cache else None

    def read(self, part: Part, rows: Tensor, use: Part, report: Report | None = None) -> tuple[Split, Failures]:
        """Some images of a part, and which of them cannot be read.

        Args:
            part: that they are in.
            rows: of them.
            use: what they are read for; with a holdout test images are training images.
            report: called now and then with the files that are decoded and with all, where they are many.

        Raises:
            InputError: none of them can be, they have different sizes, or `white` is not known.
        """
        chosen = [self._listed[part][row] for row in rows.tolist()]
        files = self._selection([file for _, file in chosen], sorted({label for label, _ in chosen}), use)
        try:
            images, found = decoded_images(files, self._how, self._kept_under, report)
        except SizesDifferError as error:
            raise self._size_wanted(files.name(error.row), error.shape, error.first) from None
        failures = tuple((files.name(row), reason) for row, reason in found.failures)
        if len(failures) == len(chosen) > 0:
            raise InputError(f"{self.source}: none of {len(rows)} {part} images can be read: {': '.join(failures[0])}")
        bad = {row for row, _ in found.failures}
        good = [row for row in range(len(chosen)) if row not in bad]
        self._shape = self._shape or found.shape
        if self._shape and found.shape and found.shape != self._shape:
            raise self._size_wanted(files.name(good[0]), found.shape, self._shape)
        warn_of(self.source, len(rows), failures, [files.name(row) for row in found.several])
        if part is Part.train and self._options.white is None and 0 < found.peak <= TWELVE_BITS:
            rule = f"4095 if its images of more than 8 bits are of 12, else 65535 (no value exceeds {found.peak})"
            raise OptionError("white", rule, None, DatasetOptions)
        return Split(
            images if found.shape else images.new_empty((0, *(self._shape or (1, 1, 1)))),
            torch.tensor([chosen[row][0] for row in good], dtype=torch.int64),
            tuple(chosen[row][1].path for row in good),
            tuple(chosen[row][1].mask for row in good),
        ), failures

    def _selection(self, files: Sequence[ImageFile], labels: Sequence[int], use: Part) -> Selection:
        options, names = self._options, [self.class_names[label] for label in labels]
        choice = (str(use), names, options.limit, options.holdout, options.test_fraction)
        return Selection(self._root, [file.path for file in files], f"{use} images of {enumerated(names)}", choice)

    @staticmethod
    def _size_wanted(name: str, shape: tuple[int, ...], first: tuple[int, ...]) -> OptionError:
        found = f"{name} has {shape[0]}x{shape[1]} pixels, the first image {first[0]}x{first[1]}"
        return OptionError("size", f"[height, width] to bring all images to one size ({found})", None, DatasetOptions)


class Folder(ImageFiles):
    """Classes and files of a folder of images, as `dcgmm.datasets.layout` reads it.

    Images of all classes alternate, so that the first or last part of a split is a fair part of it.

    Raises:
        InputError: the folder is missing, cannot be read, or is no data set.
    """

    def __init__(self, options: DatasetOptions) -> None:
        assert options.path is not None  # the options see to it
        root = Path(options.path)
        if not root.is_dir():
            raise OptionError("path", OWN["folder"], printable(options.path), DataPlaceOptions)
        try:
            tree = walk(root)
        except OSError as error:
            raise InputError(f"{root} cannot be read: {error.strerror}") from None
        layout = layout_of(tree, options.test_fraction)
        listed = {Part.train: layout.train, Part.test: layout.test}
        names = layout.names
        super().__init__(options, names, {part: interleaved(files, names) for part, files in listed.items()})
