"""Shapes of activations and the sliding windows that Folding and Pooling share.

Legend of all of `model/`: N samples, H W positions, C channels, K components, D features of a patch; `...` stands
for the model's `batch_shape`: empty for one model, (R,) for R models of one architecture side by side.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from dcgmm.errors import InputError, OptionError


class Shape(NamedTuple):
    """Shape of one sample's activation: height and width in positions, then channels.

    Examples:
        >>> import dcgmm
        >>> shape = dcgmm.model.Shape(4, 4, 25)
        >>> str(shape), shape.positions
        ('4x4x25', 16)
    """

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels}"

    @property
    def positions(self) -> int:
        """Number of positions, H * W."""
        return self.height * self.width


@dataclass(frozen=True)
class Window:
    """A sliding window: `kernel` (kh, kw) and `stride` (sh, sw), in positions.

    Raises:
        OptionError: a kernel or stride is not a pair of positive integers.

    Examples:
        >>> import dcgmm
        >>> window = dcgmm.model.Window(kernel=(7, 7), stride=(3, 3))
        >>> window.positions(28, 30), window.positions(28, 30, partial=True)  # one more that juts out to the right
        ((8, 8), (8, 9))
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, pair in (("kernel", self.kernel), ("stride", self.stride)):
            if len(pair) != 2 or any(type(size) is not int or size < 1 for size in pair):
                raise OptionError(name, "two positive whole numbers (height, width)", list(pair))

    def __str__(self) -> str:
        (kh, kw), (sh, sw) = self.kernel, self.stride
        return f"{kh}, {kw}, {sh}, {sw}"

    def positions(self, height: int, width: int, *, partial: bool = False) -> tuple[int, int]:
        """Window positions over a height x width map; `partial` also counts a last window that juts out (ceil).

        Raises:
            InputError: the window is larger than the map.
        """
        kh, kw = self.kernel
        if kh > height or kw > width:
            raise InputError(
                f"the window does not fit its {height}x{width} input; a kernel of at most {height}x{width} would"
            )
        return (
            self._along(height, kh, self.stride[0], partial),
            self._along(width, kw, self.stride[1], partial),
        )

    @staticmethod
    def _along(size: int, kernel: int, stride: int, partial: bool) -> int:
        if not partial:
            return 1 + (size - kernel) // stride
        count = 1 + math.ceil((size - kernel) / stride)
        # A window that would start outside of the map sees nothing at all.
        return count - 1 if (count - 1) * stride >= size else count
