"""A batch of images that lie among all others: passes gather it as they read, and nothing is copied."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gathered:
    """The coming batch of images, or of tiles of them, which are floats once they are read.

    To take it is to move on: `position` is one more from then on.

    Shapes: M images, H W pixels, C channels (h w of a tile), B images of a batch, S batches; `...` is the model's
    batch_shape.

    Args:
        images: (M, H, W, C), uint8 or float32, contiguous.
        order: (..., S B) int64: rows of `images`, or the pixels of all images that tiles begin at; batch after batch.
        position: (1,) int64: how many batches were taken.
        batch_size: B.
        tile: (h, w); None: whole images.
    """

    images: Tensor
    order: Tensor
    position: Tensor
    batch_size: int
    tile: tuple[int, int] | None = None

    dtype = torch.float32

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    @property
    def is_cuda(self) -> bool:
        """Whether that is a GPU."""
        return self.images.is_cuda

    @property
    def shape(self) -> torch.Size:
        """(..., B, H, W, C), of the floats."""
        height, width, channels = self.images.shape[1:]
        return torch.Size((*self.order.shape[:-1], self.batch_size, *(self.tile or (height, width)), channels))

    @property
    def unit(self) -> int:
        """Values from an image, or the pixel that a tile can begin at, to the next."""
        return self.images.shape[-1] if self.tile else self.images.shape[1:].numel()

    @property
    def line(self) -> int:
        """Values from a row of pixels to the next."""
        return self.images.shape[2:].numel()

    def get_device(self) -> int:
        """The GPU's number."""
        return self.images.get_device()
