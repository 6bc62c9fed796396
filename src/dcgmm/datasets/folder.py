"""A folder of images as a data set: listed once, read when it is known which images are wanted."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.datasets.layout import ImageFile, interleaved, layout_of
from dcgmm.datasets.names import printable
from dcgmm.datasets.options import DataPlaceOptions, DatasetOptions
from dcgmm.datasets.pixels import ImageError, decode, warn_of
from dcgmm.datasets.split import Failures, Part, Split
from dcgmm.datasets.walking import walk
from dcgmm.errors import InputError, OptionError

log = logging.getLogger(__name__)

TWELVE_BITS = 4095  # data of 12 bits reach no further: in images of 16 they would be nearly black


class Folder:
    """Classes and files of a folder of images, as `dcgmm.datasets.layout` reads it.

    Images of all classes alternate, so that the first or last part of a split is a fair part of it.

    Raises:
        InputError: the folder is missing, cannot be read, or is no data set.
    """

    def __init__(self, options: DatasetOptions) -> None:
        assert options.path is not None  # the options see to it
        self._root, self._options = Path(options.path), options
        if not self._root.is_dir():
            raise OptionError("path", "a folder of images", printable(options.path), DataPlaceOptions)
        try:
            tree = walk(self._root)
        except OSError as error:
            raise InputError(f"{self._root} cannot be read: {error.strerror}") from None
        layout = layout_of(tree, options.test_fraction)
        self.class_names, self.source = layout.names, printable(options.path)
        self._listed = {
            Part.train: interleaved(layout.train, layout.names),
            Part.test: interleaved(layout.test, layout.names),
        }
        self.labels = {
            part: torch.tensor([label for label, _ in files], dtype=torch.int64) for part, files in self._listed.items()
        }
        self.classes = tuple(self.labels[Part.train].unique().tolist())  # those to train on, if none are chosen
        self._shape: tuple[int, ...] | None = None  # of the first image that is read: all others must have it

    def read(self, part: Part, rows: Tensor) -> tuple[Split, Failures]:
        """Some images of a part, and which of them cannot be read.

        Raises:
            InputError: none of them can be, they have different sizes, or `white` is not known.
        """
        images: NDArray[np.uint8] | None = None
        good: list[tuple[int, ImageFile]] = []
        failures, several, peak = list[tuple[str, str]](), list[str](), 0
        size = None if self._options.size is None else (self._options.size[0], self._options.size[1])
        for label, file in (self._listed[part][row] for row in rows.tolist()):
            name = printable(file.path.relative_to(self._root).as_posix())
            try:
                found = decode(file.path, self._options.color, size, self._options.white)
            except ImageError as error:
                failures.append((name, str(error)))
                continue
            self._check_shape(name, found.pixels.shape)
            if images is None:
                images = np.empty((len(rows), *found.pixels.shape), np.uint8)
            images[len(good)] = found.pixels
            good.append((label, file))
            peak = max(peak, found.peak)
            several += [name] * (found.frames > 1)
        if failures and not good:
            raise InputError(f"{self.source}: none of {len(rows)} {part} images can be read: {': '.join(failures[0])}")
        warn_of(self.source, len(rows), failures, several)
        if part is Part.train and self._options.white is None and 0 < peak <= TWELVE_BITS:
            rule = f"4095 if its images of more than 8 bits are of 12, else 65535 (no value exceeds {peak})"
            raise OptionError("white", rule, None, DatasetOptions)
        empty = np.empty((0, *(self._shape or (1, 1, 1))), np.uint8)
        return Split(
            torch.from_numpy(empty if images is None else images[: len(good)]),
            torch.tensor([label for label, _ in good], dtype=torch.int64),
            tuple(file.path for _, file in good),
            tuple(file.mask for _, file in good),
        ), tuple(failures)

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self._shape = self._shape or shape
        if shape != self._shape:
            found = f"{name} has {shape[0]}x{shape[1]} pixels, the first image {self._shape[0]}x{self._shape[1]}"
            rule = f"[height, width] to bring all images to one size ({found})"
            raise OptionError("size", rule, None, DatasetOptions)
