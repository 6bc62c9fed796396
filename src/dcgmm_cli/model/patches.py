"""Windows of an activation as a GMM layer needs them: linear maps of x and x^2, unfolded only where that is quick.

A GMM layer never needs the patches themselves. Its scores are linear in x and x^2 of each patch, and the gradient of
its objective needs the sums of x and x^2 over the patches of each winner. Where windows overlap much both maps are
convolutions, and a pixel is squared once instead of once a window; elsewhere both are matrix products.

Shapes as in `shapes`; H' W' are window positions, D = kh kw C features of a patch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from dcgmm_cli.model.shapes import Window

_CONVOLVED_OVERLAP = 8  # windows that each pixel lies in, from which on convolutions were found to be quicker


def unfold(x: Tensor, window: Window) -> Tensor:  # (..., H, W, C) -> (..., H', W', D)
    """Patches of x, features in the order (row, column, channel), channel fastest; D = kh * kw * C."""
    (kh, kw), (sh, sw) = window.kernel, window.stride
    height, width, channels = x.shape[-3:]
    rows, columns = window.positions(height, width)
    if (kh, kw) == (height, width):
        return x.reshape(*x.shape[:-3], 1, 1, kh * kw * channels)
    patches = x.unfold(-3, kh, sh).unfold(-3, kw, sw)  # (..., H', W', C, kh, kw)
    return patches.movedim(-3, -1).reshape(*x.shape[:-3], rows, columns, kh * kw * channels)


class Patches:
    """The windows of a batch.

    Args:
        x: (..., N, H, W, C).
        window: what they are.

    Raises:
        UserError: the window is larger than the map.
    """

    def __init__(self, x: Tensor, window: Window) -> None:
        height, width = x.shape[-3:-1]
        self._window = window
        self._map = (*x.shape[-4:-3], *window.positions(height, width))
        (kh, kw), (sh, sw) = window.kernel, window.stride
        whole = (kh, kw) == (height, width)
        # On CUDA convolutions round to TF32 by default, and their gradients add in no fixed order.
        self._convolves = not whole and kh * kw >= _CONVOLVED_OVERLAP * sh * sw and not x.is_cuda
        # (..., N, H, W, C) or (..., P, D)
        self._values = x if self._convolves else unfold(x, window).flatten(-4, -2)
        self._squares = self._values.square()

    def contract(
        self,
        linear: Tensor,  # (..., K, D)
        precision: Tensor,  # (..., K, D)
        constant: Tensor,  # (..., K)
    ) -> Tensor:  # (..., N, H', W', K)
        """constant_k + <linear_k, x> - <precision_k, x^2> / 2 for every patch."""
        if self._convolves:
            maps, filters = self._maps(), self._filters(linear, -0.5 * precision)
            if filters.dim() == 4:
                return self._convolved(maps, filters, constant)
            each = zip(maps.expand(len(filters), *maps.shape[-4:]), filters, constant, strict=True)
            return torch.stack([self._convolved(*one) for one in each])
        if linear.dim() == 2 and self._values.dim() == 2:
            scores = torch.addmm(constant, self._values, linear.mT).addmm(self._squares, precision.mT, alpha=-0.5)
        else:
            scores = self._values @ linear.mT - 0.5 * (self._squares @ precision.mT) + constant.unsqueeze(-2)
        return scores.view(*scores.shape[:-2], *self._map, scores.shape[-1])

    def means(
        self,
        winner: Tensor,  # (..., N, H', W'), the component that each patch belongs to
        components: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # (..., K), (..., K, D), (..., K, D)
        """Means of 1, x and x^2 by component: sums over its patches, divided by the number of all patches."""
        batch, flat = winner.shape[:-3], winner.flatten(-3)
        scale = 1.0 / flat.shape[-1]
        if self._convolves:
            maps = self._maps()
            maps = maps.expand(*batch, *maps.shape[-4:])
            one_hot = _one_hot(winner, components, maps)
            if batch:
                sums = torch.stack([self._convolved_sums(*one) for one in zip(maps, one_hot, strict=True)])
            else:
                sums = self._convolved_sums(maps, one_hot)
            return _count(flat, components, maps).mul_(scale), *self._features(sums * scale)
        # On CUDA index_add adds in no fixed order, and on a CPU it is slow where rows are short.
        if self._values.is_cuda or self._values.shape[-1] < 16:
            one_hot = _one_hot(flat, components, self._values).mul_(scale)
            return one_hot.sum(-2), one_hot.mT @ self._values, one_hot.mT @ self._squares
        rows = _row(flat, components)

        def mean(values: Tensor) -> Tensor:
            values = values.expand(*batch, *values.shape[-2:])
            zero = values.new_zeros(batch.numel() * components, values.shape[-1])
            return zero.index_add_(0, rows, values.flatten(0, -2), alpha=scale).view(*batch, components, -1)

        return _count(flat, components, self._values).mul_(scale), mean(self._values), mean(self._squares)

    def _maps(self) -> Tensor:  # (..., N, H, W, 2C)
        return torch.cat([self._values, self._squares], -1)

    def _filters(self, *parts: Tensor) -> Tensor:  # (..., K, D), (..., K, D) -> (..., K, 2C, kh, kw)
        size = (*self._window.kernel, self._values.shape[-1])
        # Channels last in memory, as the maps are.
        return torch.cat([part.unflatten(-1, size) for part in parts], -1).movedim(-1, -3)

    def _features(self, filters: Tensor) -> tuple[Tensor, Tensor]:  # (..., K, 2C, kh, kw) -> (..., K, D), (..., K, D)
        linear, quadratic = filters.movedim(-3, -1).tensor_split(2, -1)
        return linear.flatten(-3), quadratic.flatten(-3)

    def _convolved(self, maps: Tensor, filters: Tensor, constant: Tensor) -> Tensor:
        return F.conv2d(maps.movedim(-1, 1), filters, constant, self._window.stride).movedim(1, -1)

    def _convolved_sums(self, maps: Tensor, one_hot: Tensor) -> Tensor:  # (..., H', W', K) -> (K, 2C, kh, kw)
        # The sums are the gradient of the scores' convolution with respect to its filters.
        size = (one_hot.shape[-1], maps.shape[-1], *self._window.kernel)
        sums: Tensor = conv2d_weight(maps.movedim(-1, 1), size, one_hot.movedim(-1, 1), self._window.stride)
        return sums


def _one_hot(winner: Tensor, components: int, like: Tensor) -> Tensor:  # (...) -> (..., K)
    return like.new_zeros(*winner.shape, components).scatter_(-1, winner.unsqueeze(-1), 1.0)


def _row(winner: Tensor, components: int) -> Tensor:  # (..., P) -> (... P)
    """Number of each point's component, counted through all models."""
    models = winner.shape[:-1].numel()
    if models > 1:
        winner = winner + torch.arange(models).mul_(components).view(*winner.shape[:-1], 1)
    return winner.reshape(-1)


def _count(winner: Tensor, components: int, like: Tensor) -> Tensor:  # (..., P) -> (..., K)
    models = winner.shape[:-1].numel()
    count = torch.bincount(_row(winner, components), minlength=models * components)
    return count.view(*winner.shape[:-1], components).to(like.dtype)
