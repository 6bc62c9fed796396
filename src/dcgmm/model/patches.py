"""Windows of an activation as a GMM layer needs them: two linear maps of the patches and of their squares.

A GMM layer never needs the patches themselves: its scores are linear in x and x^2 of each patch, and the gradient of
its objective needs the sums of x and x^2 over the patches of each winner.

A layer with parameters of its own at each position is as many models side by side, each of which sees the patches of
one position (`PositionPatches`): (H', W') ends the batch_shape of its parameters.

Shapes as in `shapes`; H' W' are window positions, D = kh kw C features of a patch.
"""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgmm.model import fused, native
from dcgmm.model.shapes import Shape, Window

SINGLE = Window((1, 1), (1, 1))  # every position is a patch of its own


def unfold(x: Tensor, window: Window) -> Tensor:  # (..., H, W, C) -> (..., H', W', D)
    """Patches of x, features in the order (row, column, channel), channel fastest; D = kh * kw * C."""
    (kh, kw), (sh, sw) = window.kernel, window.stride
    height, width, channels = x.shape[-3:]
    rows, columns = window.positions(height, width)
    if (kh, kw) == (height, width):
        return x.reshape(*x.shape[:-3], 1, 1, kh * kw * channels)
    patches = x.unfold(-3, kh, sh).unfold(-3, kw, sw)  # (..., H', W', C, kh, kw)
    return patches.movedim(-3, -1).reshape(*x.shape[:-3], rows, columns, kh * kw * channels)


def fold_sum(patches: Tensor, window: Window, shape: Shape) -> Tensor:  # (..., H', W', D) -> (..., H, W, C)
    """Adjoint of `unfold`: every patch added at its place; pixels that no window covers get 0."""
    height, width, channels = shape
    batch, (rows, columns, features) = patches.shape[:-3], patches.shape[-3:]
    if window.kernel == (height, width):
        return patches.reshape(*batch, *shape)
    flat = patches.reshape(-1, rows * columns, features // channels, channels)
    blocks = flat.permute(0, 3, 2, 1).reshape(len(flat), features, rows * columns)
    image = F.fold(blocks, (height, width), window.kernel, stride=window.stride)
    return image.movedim(1, -1).reshape(*batch, *shape)


class Patches:
    """The windows of a batch.

    Args:
        source: (..., N, H, W, C), the batch, or where among others it lies.
        window: what they are.

    Raises:
        InputError: the window is larger than the map.
    """

    def __init__(self, source: fused.Maps, window: Window) -> None:
        self.source, self.window = source, window
        self.features = window.kernel[0] * window.kernel[1] * source.shape[-1]  # D
        self._map = (*source.shape[-4:-3], *window.positions(*source.shape[-3:-1]))

    @cached_property
    def x(self) -> Tensor:  # (..., N, H, W, C)
        """The batch itself: if it was to be gathered, it is taken."""
        return fused.taken(self.source)

    @cached_property
    def values(self) -> Tensor:  # (..., P, D), P = N H' W' patches
        """The patches themselves."""
        return unfold(self.x, self.window).flatten(-4, -2)

    @cached_property
    def _squares(self) -> Tensor:  # (..., P, D)
        return self.values * self.values

    def contract(
        self,
        linear: Tensor,  # (..., K, D)
        precision: Tensor,  # (..., K, D)
        constant: Tensor,  # (..., K)
    ) -> Tensor:  # (..., N, H', W', K)
        """constant_k + <linear_k, x> - <precision_k, x^2> / 2 for every patch."""
        if linear.dim() == 2 and self.x.dim() == 4 and native.takes(self.x, linear, precision, constant):
            return native.scores(self.x, self.window, linear, precision, constant)
        if fused.contracts(self.x, linear, precision, constant) and self.x.shape[:-4] == linear.shape[:-2]:
            return self.placed(fused.contract(self.x, self.window, linear, precision, constant))
        scores = self.values @ linear.mT - 0.5 * (self._squares @ precision.mT) + constant.unsqueeze(-2)
        return self.on_map(scores)

    def points(self, maps: Tensor) -> Tensor:  # (..., N, H', W', F) -> (..., P, F)
        """What stands at all positions, in the order of `values`."""
        return maps.flatten(-4, -2)

    def on_map(self, points: Tensor) -> Tensor:  # (..., P, F) -> (..., N, H', W', F)
        """The inverse of `points`."""
        return points.view(*points.shape[:-2], *self._map, points.shape[-1])

    def placed(self, made: Tensor) -> Tensor:  # as passes over `x` and `window` make it -> (..., N, H', W', F)
        """The map that it is."""
        return made

    def by_position(self) -> "Patches":
        """The same for a layer with parameters of its own at each position."""
        return PositionPatches(self)

    def means(
        self,
        winner: Tensor,  # (..., P), the component that each patch belongs to
        components: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # (..., K), (..., K, D), (..., K, D)
        """Means of 1, x and x^2 by component: sums over its patches, divided by the number of all patches."""
        points = winner.shape[-1]
        counts, first, second = self._by_component(winner, components, 1.0 / points)
        return counts / points, first, second

    def sums(self, winner: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `means`, not divided."""
        return self._by_component(winner, components, 1.0)

    def _by_component(self, winner: Tensor, components: int, weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """Counts, and sums of x and x^2 times a weight."""
        # Integers: a sum of many equal shares would lose the later ones.
        counts = winner.new_zeros(*winner.shape[:-1], components).scatter_add_(-1, winner, torch.ones_like(winner))
        share = self.values.new_zeros(*winner.shape, components).scatter_(-1, winner.unsqueeze(-1), weight)
        return counts.to(share.dtype), share.mT @ self.values, share.mT @ self._squares

    def pull(
        self,
        weights: Tensor,  # (..., N, H', W', K)
        linear: Tensor,  # (..., K, D)
        precision: Tensor,  # (..., K, D)
    ) -> Tensor:  # (..., N, H, W, C)
        """Gradient with respect to x of sum_pk w_pk s_k(p), s being what `contract` gives.

        Each patch has the gradient sum_k w_k (linear_k - precision_k x), and is added at its place.
        """
        if linear.dim() == 2 and self.x.dim() == 4 and native.takes(self.x, weights, linear, precision):
            return native.pull(self.x, self.window, weights, linear, precision)
        flat = self.points(weights)
        return self.fold(flat @ linear - self.values * (flat @ precision))

    def fold(self, patches: Tensor) -> Tensor:  # (..., P, D) -> (..., N, H, W, C)
        """Values of all patches added at their places."""
        return fold_sum(self.on_map(patches), self.window, Shape(*self.x.shape[-3:]))


class PositionPatches(Patches):
    """The windows of a batch, with those of each position apart: points are (..., H', W', N, F), maps as ever.

    Args:
        given: the windows; `x` is their patches, each a map by itself, (..., H', W', N, 1, 1, D).
    """

    def __init__(self, given: Patches) -> None:
        apart = unfold(given.x, given.window).movedim(-4, -2)
        super().__init__(apart.contiguous()[..., None, None, :], SINGLE)
        self._given = given

    def points(self, maps: Tensor) -> Tensor:  # (..., N, H', W', F) -> (..., H', W', N, F)
        """What stands at each position."""
        return maps.movedim(-4, -2)

    def on_map(self, points: Tensor) -> Tensor:  # (..., H', W', N, F) -> (..., N, H', W', F)
        """The inverse of `points`."""
        return points.movedim(-2, -4)

    def placed(self, made: Tensor) -> Tensor:  # (..., H', W', N, 1, 1, F) -> (..., N, H', W', F)
        """The map that it is."""
        return self.on_map(made.flatten(-4, -2))

    def by_position(self) -> Patches:
        """Themselves."""
        return self

    def fold(self, patches: Tensor) -> Tensor:  # (..., H', W', N, D) -> (..., N, H, W, C)
        """Values of all patches added at their places."""
        return self._given.fold(self._given.points(self.on_map(patches)))
