"""The Folding layer: sliding windows into channels, and back (section 3.1)."""

from collections.abc import Sequence

from torch import Tensor, nn

from dcgmm.model import fused
from dcgmm.model.options import LayerOptions, LayerType
from dcgmm.model.patches import Patches, fold_sum, unfold
from dcgmm.model.shapes import Shape, Window


class Folding(nn.Module):
    """Sliding windows of `kernel` at `stride` into the channel dimension: H' = 1 + (H - kh) // sh, D = kh kw C.

    Args:
        input_shape: (H, W, C) of one sample.
        kernel: (kh, kw).
        stride: (sh, sw).

    Raises:
        InputError: a value is not positive, or the window does not fit the input.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> layer, x = dcgmm.model.Folding((28, 28, 1), kernel=(7, 7), stride=(7, 7)), torch.rand(5, 28, 28, 1)
        >>> layer(x).shape, bool(layer.downward(layer(x)).allclose(x))  # the patches, and put together again
        (torch.Size([5, 4, 4, 49]), True)

    Source: section 3.1.
    """

    def __init__(self, input_shape: Shape, kernel: Sequence[int], stride: Sequence[int] = (1, 1)) -> None:
        super().__init__()
        self.window = Window(tuple(kernel), tuple(stride))
        self.input_shape = Shape(*input_shape)
        rows, columns = self.window.positions(self.input_shape.height, self.input_shape.width)
        kh, kw = self.window.kernel
        self.output_shape = Shape(rows, columns, kh * kw * self.input_shape.channels)

    @property
    def description(self) -> LayerOptions:
        """What `DCGMM.build` makes such a layer of."""
        return LayerOptions(LayerType.folding, list(self.window.kernel), list(self.window.stride))

    def forward(self, x: Tensor) -> Tensor:  # (..., N, H, W, C) -> (..., N, H', W', D)
        """Upward: the patches at all window positions."""
        return unfold(x, self.window)

    def patches(self, x: fused.Maps) -> Patches:  # (..., N, H, W, C)
        """Upward into a GMM layer: the same patches, not unfolded yet."""
        return Patches(x, self.window)

    def downward(self, patches: Tensor) -> Tensor:  # (..., N, H', W', D) -> (..., N, H, W, C)
        """Downward: overlapping contributions averaged, 0 where no window reaches."""
        cover = fold_sum(patches.new_ones(self.output_shape), self.window, self.input_shape)
        return fold_sum(patches, self.window, self.input_shape) / cover.clamp(min=1)

    def extra_repr(self) -> str:
        """Window, input and output shape."""
        return f"{self.window}; {self.input_shape} -> {self.output_shape}"
