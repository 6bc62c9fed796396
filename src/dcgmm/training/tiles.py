"""What a step takes of training images: these as a whole, or tiles of them.

Shapes: N images, H W pixels, C channels, h w pixels of a tile.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.model.stack import DCGMM
from dcgmm.training.options import TrainerOptions

MIXED = 10  # blocks whose images are mixed


def shuffled(count: int, block: int | None, generator: torch.Generator) -> Tensor:  # (count,)
    """An order of images for an epoch.

    Args:
        count: images.
        block: None gives any order; else blocks of so many neighbours come in any order, and `MIXED` of them that
            follow each other are mixed: what is read is near to what was read before.
        generator: of the order.
    """
    if block is None:
        return torch.randperm(count, generator=generator)
    first = torch.randperm(-(-count // block), generator=generator) * block
    rows = (first.unsqueeze(1) + torch.arange(block)).flatten()
    mixed = rows[rows < count].split(MIXED * block)
    return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in mixed])


class Whole:
    """Images as they are, each known by its row.

    Args:
        images: (N, H, W, C).
        block: as in `shuffled`.
    """

    def __init__(self, images: Tensor, block: int | None = None) -> None:
        self._images, self._block = images, block
        self.count = len(images)  # of an epoch
        self.shape = tuple(images.shape[1:])  # (H, W, C)

    def drawn(self, generator: torch.Generator, used: int) -> Tensor:  # (used,)
        """Those of an epoch, in its order."""
        return shuffled(self.count, self._block, generator)[:used]

    def gathered(self, rows: Tensor, out: Tensor | None = None) -> Tensor:  # (n,) -> (n, H, W, C)
        """Some of them, in a tensor that is there or in one of their own."""
        return torch.index_select(self._images, 0, rows, out=out)


class Tiles(Whole):
    """Tiles at any place of images, each known by the pixel of all images that it begins at.

    An epoch takes as many of each image as cover it, each at a place of its own.

    Args:
        images: (N, H, W, C).
        block: as in `shuffled`.
        size: (h, w).

    Raises:
        OptionError: they are larger than the images.
    """

    def __init__(self, images: Tensor, block: int | None, size: Sequence[int]) -> None:
        super().__init__(images, block)
        height, width, channels = self.shape
        if size[0] > height or size[1] > width:
            raise OptionError("tile", f"at most [{height}, {width}], the size of the images", size, TrainerOptions)
        self.count *= math.ceil(height / size[0]) * math.ceil(width / size[1])
        self.shape = (*size, channels)
        self._pixels = images.reshape(-1, channels)
        rows, columns = (torch.arange(each, device=images.device) for each in size)
        self._inside = (rows.unsqueeze(-1) * width + columns).flatten()  # pixels of a tile, from its first one

    def drawn(self, generator: torch.Generator, used: int) -> Tensor:  # (used,)
        """Those of an epoch, in its order."""
        chosen = super().drawn(generator, used) % len(self._images)
        _, height, width, _ = self._images.shape
        down = torch.randint(height - self.shape[0] + 1, (used,), generator=generator)
        right = torch.randint(width - self.shape[1] + 1, (used,), generator=generator)
        return (chosen * height + down) * width + right

    def gathered(self, rows: Tensor, out: Tensor | None = None) -> Tensor:  # (n,) -> (n, h, w, C)
        """Some of them, in a tensor that is there or in one of their own."""
        inside = (rows.unsqueeze(-1) + self._inside).flatten()
        flat = None if out is None else out.view(len(inside), self.shape[-1])
        return torch.index_select(self._pixels, 0, inside, out=flat).view(len(rows), *self.shape)


def model_of_tiles(model: DCGMM, shape: tuple[int, ...]) -> DCGMM:
    """The model as it is for tiles (h, w, C), without values: its layers and their shapes.

    Raises:
        InputError: a window does not fit a tile, or a layer tells positions apart, which tiles do not.
    """
    if own := [name for name, gmm in model.gmms.items() if not gmm.shared]:
        raise InputError(
            f"tile: {', '.join(own)} has parameters of its own at each position (shared: false), but tiles are drawn "
            "at any place: leave one of the two out"
        )
    try:
        with torch.device("meta"):
            return DCGMM.build(shape, model.architecture, next(iter(model.gmms.values())).options, model.batch_shape)
    except InputError as error:
        raise InputError(f"tile of {shape[0]}x{shape[1]}: {error}") from None
