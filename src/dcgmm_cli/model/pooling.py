"""The Pooling layer: max pooling upward, nearest-neighbour up-sampling downward (section 3.1)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcgmm_cli.model.shapes import Shape, Window


class Pooling(nn.Module):
    """Max pooling of `kernel` at `stride` (default: the kernel); a last partial window counts.

    Args:
        input_shape: (H, W, C) of one sample.
        kernel: (kh, kw).
        stride: (sh, sw); None takes the kernel.

    Raises:
        UserError: a value is not positive, or the window does not fit the input.
    """

    def __init__(self, input_shape: Shape, kernel: Sequence[int], stride: Sequence[int] | None = None) -> None:
        super().__init__()
        self.window = Window(tuple(kernel), tuple(kernel if stride is None else stride))
        self.input_shape = Shape(*input_shape)
        rows, columns = self.window.positions(self.input_shape.height, self.input_shape.width, partial=True)
        self.output_shape = Shape(rows, columns, self.input_shape.channels)

    def forward(self, x: Tensor) -> Tensor:  # (..., N, H, W, C) -> (..., N, H', W', C)
        """Upward: the largest value of each channel in each window."""
        maps = x.reshape(-1, *self.input_shape).movedim(-1, 1)
        pooled = F.max_pool2d(maps, self.window.kernel, self.window.stride, ceil_mode=True)
        return pooled.movedim(1, -1).reshape(*x.shape[:-3], *self.output_shape)

    def downward(self, pooled: Tensor) -> Tensor:  # (..., N, H', W', C) -> (..., N, H, W, C)
        """Downward: each position takes the value of the pooling window that starts last at or before it."""
        (height, width, _), (rows, columns, _) = self.input_shape, self.output_shape
        sh, sw = self.window.stride
        row = torch.arange(height, device=pooled.device).div(sh, rounding_mode="floor").clamp(max=rows - 1)
        column = torch.arange(width, device=pooled.device).div(sw, rounding_mode="floor").clamp(max=columns - 1)
        return pooled.index_select(-3, row).index_select(-2, column)

    def extra_repr(self) -> str:
        """Window, input and output shape."""
        return f"{self.window}; {self.input_shape} -> {self.output_shape}"
