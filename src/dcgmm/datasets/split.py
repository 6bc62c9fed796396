"""What a data set is once it has been read.

Legend: N images, H W pixels, C channels.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
from torch import Tensor

Failures = tuple[tuple[str, str], ...]  # names of files that could not be read, and why
Report = Callable[[int, int], None]  # called now and then with the files that have been decoded, and with all


class Part(StrEnum):
    """Parts of a data set."""

    train = "training"
    test = "test"


@dataclass(frozen=True)
class Split:
    """Labelled images, bytes. A float image is `images / 255`.

    Attributes:
        images: (N, H, W, C) uint8.
        labels: (N,) int64, an index into the data set's `class_names`.
        files: of a folder of images: the file of each.
        masks: and the file that marks its defects, where there is one.

    Examples:
        >>> import dcgmm
        >>> test = dcgmm.datasets.load("mnist_sample").test
        >>> sevens = test[test.labels == 7]
        >>> len(test), sevens.images.shape, sevens.labels.unique().tolist()
        (500, torch.Size([50, 28, 28, 1]), [7])
    """

    images: Tensor
    labels: Tensor
    files: tuple[Path, ...] | None = None
    masks: tuple[Path | None, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> "Split":
        if self.files is None or self.masks is None:
            return Split(self.images[index], self.labels[index])
        rows = torch.arange(len(self))[index].tolist()
        files, masks = (tuple(part[row] for row in rows) for part in (self.files, self.masks))
        return Split(self.images[index], self.labels[index], files, masks)


@dataclass(frozen=True)
class ImageData:
    """A data set: training and test images, and where they were found.

    Attributes:
        name: of the data set.
        train: training images.
        test: test images.
        class_names: of all classes that it has, by label.
        source: where the files came from, in words.
        classes: labels of the classes that were kept.
        failures: what was left out: names of files, and why.

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("fashion_mnist_sample", classes=["dress", "coat"])
        >>> data.classes, data.chosen_names, len(data.train), len(data.test)
        ((3, 4), ('dress', 'coat'), 400, 100)
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    source: str
    classes: tuple[int, ...]
    failures: Failures = ()

    @property
    def chosen_names(self) -> tuple[str, ...]:
        """Names of the classes that were kept."""
        return tuple(self.class_names[label] for label in self.classes)

    @functools.cached_property
    def digest(self) -> str:
        """Tells sets of training images apart: by their pixels, their order, and the names of their classes."""
        labels, places = self.train.labels.unique(return_inverse=True)
        content = hashlib.sha256("\0".join(self.class_names[label] for label in labels.tolist()).encode())
        content.update(places.numpy().tobytes())
        content.update(repr(tuple(self.train.images.shape)).encode())
        content.update(self.train.images.contiguous().numpy().data)
        return content.hexdigest()
