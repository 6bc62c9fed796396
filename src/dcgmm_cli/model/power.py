"""The Power layer: pixel values raised to an exponent upward, to its inverse downward. Not of the paper."""

import math

import torch
from torch import Tensor, nn

from dcgmm_cli.errors import UserError
from dcgmm_cli.model.shapes import Shape


class Power(nn.Module):
    """x^e of each pixel value x in [0, 1], negative ones taken for 0.

    Every component's variance has the same least value, so dark structure, whose values differ little, counts little:
    an exponent under 1 spreads it.

    Args:
        input_shape: (H, W, C) of one image.
        exponent: e.

    Raises:
        UserError: the exponent is not a positive number.
    """

    def __init__(self, input_shape: Shape, exponent: float) -> None:
        super().__init__()
        if not 0 < exponent < math.inf:
            raise UserError(f"exponent must be a positive number, not {exponent}")
        self.exponent = float(exponent)
        self.input_shape = self.output_shape = Shape(*input_shape)

    def forward(self, x: Tensor) -> Tensor:  # (..., N, H, W, C) -> (..., N, H, W, C)
        """Upward: x^e."""
        return _positive(x).pow(self.exponent)

    def downward(self, x: Tensor) -> Tensor:  # (..., N, H, W, C) -> (..., N, H, W, C)
        """Downward: x^(1 / e)."""
        return _positive(x).pow(1 / self.exponent)

    def extra_repr(self) -> str:
        """Exponent and shape."""
        return f"{self.exponent:g}; {self.input_shape} -> {self.output_shape}"


def _positive(x: Tensor) -> Tensor:
    # Not 0 but the smallest number that is not: there a power has a derivative.
    return x.clamp(min=torch.finfo(x.dtype).tiny)
