"""The Pooling layer: max pooling upward, nearest-neighbour up-sampling downward (section 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcgmm.model import fused
from dcgmm.model.options import LayerOptions, LayerType
from dcgmm.model.shapes import Shape, Window


def _largest(x: Tensor, dim: int, kernel: int, stride: int, count: int) -> Tensor:
    """Largest value along one dimension in each of `count` windows; what lies outside is ignored."""
    x = x.movedim(dim, 0)
    best = x[::stride][:count]
    for offset in range(1, kernel):
        value = x[offset::stride][:count]
        inside = torch.maximum(best[: len(value)], value)
        best = inside if len(inside) == count else torch.cat([inside, best[len(inside) :]])
    return best.movedim(0, dim)


class Pooling(nn.Module):
    """Max pooling of `kernel` at `stride` (default: the kernel); a last partial window counts.

    Args:
        input_shape: (H, W, C) of one sample.
        kernel: (kh, kw).
        stride: (sh, sw); None takes the kernel.

    Raises:
        InputError: a value is not positive, or the window does not fit the input.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> layer, x = dcgmm.model.Pooling((2, 3, 1), kernel=(2, 2)), torch.arange(6.0).view(1, 2, 3, 1)
        >>> layer(x).flatten().tolist(), layer.downward(layer(x)).flatten().tolist()
        ([4.0, 5.0], [4.0, 4.0, 5.0, 4.0, 4.0, 5.0])

    Source: section 3.1.
    """

    def __init__(self, input_shape: Shape, kernel: Sequence[int], stride: Sequence[int] | None = None) -> None:
        super().__init__()
        self.window = Window(tuple(kernel), tuple(kernel if stride is None else stride))
        self.input_shape = Shape(*input_shape)
        rows, columns = self.window.positions(self.input_shape.height, self.input_shape.width, partial=True)
        self.output_shape = Shape(rows, columns, self.input_shape.channels)

    @property
    def description(self) -> LayerOptions:
        """What `DCGMM.build` makes such a layer of."""
        kernel, stride = self.window.kernel, self.window.stride
        return LayerOptions(LayerType.pooling, list(kernel), None if stride == kernel else list(stride))

    def forward(self, x: Tensor) -> Tensor:  # (..., N, H, W, C) -> (..., N, H', W', C)
        """Upward: the largest value of each channel in each window."""
        (kh, kw), (sh, sw) = self.window.kernel, self.window.stride
        rows, columns = self.window.positions(*x.shape[-3:-1], partial=True)  # also of a tile of its input
        if fused.contracts(x):
            return fused.pool(x, self.window, rows, columns)
        return _largest(_largest(x, -3, kh, sh, rows), -2, kw, sw, columns)

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
