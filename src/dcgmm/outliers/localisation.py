"""From a GMM layer's positions to pixels: where in the image a position looks.

Shapes: N images, H W positions of a GMM layer, Y X pixels.
"""

import torch
from torch import Tensor

from dcgmm.model.folding import Folding
from dcgmm.model.pooling import Pooling
from dcgmm.model.stack import DCGMM


def pixel_maps(model: DCGMM, name: str, maps: Tensor) -> Tensor:  # (N, H, W) -> (N, Y, X)
    """A value at each position of a GMM layer, brought down to pixels through the layers under it.

    Folding averages the values of the positions that see a pixel, Pooling repeats them: each pixel has a weighted
    mean of the positions that see it. A pixel that no position sees has NaN.
    """
    values = _down(model, name, maps)
    seen = _down(model, name, torch.ones_like(maps[:1]))
    return torch.where(seen > 0, values / seen, torch.nan)


def _down(model: DCGMM, name: str, maps: Tensor) -> Tensor:
    values = maps.unsqueeze(-1)
    for layer in reversed(_layers_under(model, name)):
        # All channels carry the same value: a position is one place whatever its channels mean.
        values = layer.downward(values.expand(*values.shape[:-1], layer.output_shape.channels))[..., :1]
    return values.squeeze(-1)


def _layers_under(model: DCGMM, name: str) -> list[Folding | Pooling]:
    """Layers under a GMM layer that change positions, from below."""
    gmm, found = model.gmms[name], list[Folding | Pooling]()
    for layer in model.layers:
        if layer is gmm:
            break
        if isinstance(layer, Folding | Pooling):
            found.append(layer)
    return found


def nearest_positions(model: DCGMM, name: str) -> tuple[Tensor, Tensor]:  # (Y,), (X,)
    """For each row and column of pixels the row and column of positions whose window has its centre nearest."""
    height, width, _ = model.input_shape
    rows, columns, _ = model.gmms[name].input_shape
    found = []
    for axis, (pixels, positions) in enumerate(((height, rows), (width, columns))):
        start, step = 0.0, 1.0  # centre of the first window and distance to the next, in pixels
        for layer in _layers_under(model, name):
            start += step * (layer.window.kernel[axis] - 1) / 2
            step *= layer.window.stride[axis]
        index = torch.floor((torch.arange(pixels, dtype=torch.float64) - start) / step + 0.5)
        found.append(index.long().clamp(0, positions - 1))
    return found[0], found[1]


def at_pixels(model: DCGMM, name: str, maps: Tensor) -> Tensor:  # (N, H, W) -> (N, Y, X)
    """A value at each position of a GMM layer, given to the pixels that are nearest to the position's centre."""
    rows, columns = nearest_positions(model, name)
    return maps[:, rows.to(maps.device)][:, :, columns.to(maps.device)]


def centre_pixel(model: DCGMM, name: str, row: int, column: int) -> tuple[int, int]:
    """Row and column of the pixel in the middle of those that are nearest to a position."""
    rows, columns = nearest_positions(model, name)
    found = [torch.nonzero(line == index).flatten() for line, index in ((rows, row), (columns, column))]
    return int(found[0][len(found[0]) // 2]), int(found[1][len(found[1]) // 2])
