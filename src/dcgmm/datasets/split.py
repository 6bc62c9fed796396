"""What a data set is once it has been read.

Legend: N images, H W pixels, C channels.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Labelled images. A float image is `images / 255`."""

    images: Tensor  # (N, H, W, C) uint8
    labels: Tensor  # (N,) int64, an index into the data set's `class_names`

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> "Split":
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class ImageData:
    """A data set: training and test images, and where they were found."""

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    source: str  # where the files came from, in words
    classes: tuple[int, ...]  # labels of the classes that were kept
