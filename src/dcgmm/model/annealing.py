"""Annealing of the component smoothing and of the learning rate (section 3.2.1; Gepperth & Pfuelb, 2020).

The rule works on tensors of the model's batch_shape, so that many models anneal side by side, each at its own pace.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from dcgmm.errors import OptionError


def grid_side(components: int) -> int:
    """Side of the square grid that the components of a GMM layer lie on.

    Raises:
        OptionError: `components` is not a positive square number.
    """
    side = math.isqrt(components) if components > 0 else 0
    if components < 1 or side * side != components:
        below, above = side * side, (side + 1) ** 2
        nearest = f"{below} or {above}" if below else f"{above}"
        raise OptionError(
            "components", f"a square number, for a square grid to anneal on, such as {nearest}", components
        )
    return side


def ring_distances(components: int) -> Tensor:  # (S, S), S = sqrt(K)
    """Squared distances along one side of the toroidal S x S grid that K components lie on, in grid steps."""
    side = grid_side(components)
    index = torch.arange(side)
    gap = (index[:, None] - index[None, :]).abs()
    return torch.minimum(gap, side - gap).square()


def smoothing_kernel(
    distances: Tensor,  # (S, S), from ring_distances
    sigma: Tensor,  # (...), in grid steps
) -> Tensor:  # (..., S, S)
    """Row-normalised Gaussian kernel of one side of the grid, g_ab = exp(-dist_ab^2 / (2 sigma^2)) / sum_b' exp(...).

    Squared distances on the grid are sums over its sides, so the kernel of the components is G = g x g, a Kronecker
    product: component (a, a') has the weight g_ab g_a'b' for (b, b').
    """
    width = sigma.square()[..., None, None]
    return torch.softmax(-0.5 * distances.to(sigma.dtype) / width, -1)


@dataclass(frozen=True)
class AnnealingRule:
    """When and how far sigma and the learning rate shrink.

    Args:
        window: steps over which the objective is averaged, W = round(1 / alpha).
        sigma_end: floor of sigma, in grid steps.
        rate_start: learning rate eps_0.
        rate_end: floor of the learning rate eps_inf.
        delta: the objective counts as stationary while -2 delta <= r <= delta.
        gamma: factor that sigma and the learning rate shrink by.

    Examples:
        >>> import dcgmm
        >>> rule = dcgmm.model.AnnealingRule(33, sigma_end=0.01, rate_start=0.05, rate_end=0.03, delta=0.05, gamma=0.9)
        >>> rule.minimal_steps(components=25)
        1716

    Source: section 3.2.1; Gepperth & Pfuelb (2020).
    """

    window: int
    sigma_end: float
    rate_start: float
    rate_end: float
    delta: float
    gamma: float

    def start(self, components: int, batch_shape: tuple[int, ...], dtype: torch.dtype) -> "AnnealingState":
        """State before the first step: sigma_0 = 0.25 sqrt(2 K), never under its floor."""
        sigma = max(0.25 * math.sqrt(2 * components), self.sigma_end)
        zero = torch.zeros(batch_shape, dtype=dtype)
        return AnnealingState(sigma=zero + sigma, rate=zero + self.rate_start, first=zero, last=zero.clone(), windows=0)

    def minimal_steps(self, components: int) -> int:
        """Least number of steps after which sigma can have reached its floor."""
        ratio = max(0.25 * math.sqrt(2 * components) / self.sigma_end, 1.0)
        # A tolerance, lest rounding of the logarithm adds a window to an exact power of gamma.
        shrinkings = math.ceil(math.log(ratio) / -math.log(self.gamma) - 1e-9)
        return self.window * (2 + shrinkings)

    def advance(self, state: "AnnealingState", average: Tensor) -> "AnnealingState":
        """State after a window whose mean objective was `average` (of batch_shape).

        The first two windows only record L_0 and L_last; from then on, with r = (L - L_last) / (L_last - L_0),
        sigma and the rate shrink where -2 delta <= r <= delta, and L_last becomes L.
        """
        windows = state.windows + 1
        if windows == 1:
            return replace(state, first=average.clone(), windows=windows)
        if windows == 2:
            return replace(state, last=average.clone(), windows=windows)
        progress, gain = state.last - state.first, average - state.last
        # The rule multiplied by |L_last - L_0|, so that nothing is divided by zero.
        scale, signed_gain = progress.abs(), torch.where(progress < 0, -gain, gain)
        stationary = (signed_gain >= -2 * self.delta * scale) & (signed_gain <= self.delta * scale)
        return AnnealingState(
            sigma=torch.where(stationary, (state.sigma * self.gamma).clamp(min=self.sigma_end), state.sigma),
            rate=torch.where(stationary, (state.rate * self.gamma).clamp(min=self.rate_end), state.rate),
            first=state.first,
            last=average.clone(),
            windows=windows,
        )


@dataclass(frozen=True)
class AnnealingState:
    """Where a GMM layer stands in its annealing.

    Attributes:
        sigma: (...), width of the smoothing kernel in grid steps.
        rate: (...), learning rate.
        first: (...), L_0: mean objective of the first window.
        last: (...), L_last: mean objective of the window before.
        windows: windows that have ended.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> rule = dcgmm.model.AnnealingRule(33, sigma_end=0.01, rate_start=0.05, rate_end=0.03, delta=0.05, gamma=0.5)
        >>> state = rule.start(components=8, batch_shape=(), dtype=torch.float64)
        >>> for average in (0.0, 10.0, 10.1):  # the objective no longer rises
        ...     state = rule.advance(state, torch.tensor(average, dtype=torch.float64))
        >>> state.windows, float(state.sigma), float(state.rate)  # sigma was 1
        (3, 0.5, 0.03)
    """

    sigma: Tensor
    rate: Tensor
    first: Tensor
    last: Tensor
    windows: int

    def tensors(self) -> dict[str, Tensor]:
        """What each model has of its own, by name."""
        return {"sigma": self.sigma, "rate": self.rate, "first": self.first, "last": self.last}

    def to(self, device: torch.device) -> Self:
        """The state on another device."""
        return type(self)(**{name: value.to(device) for name, value in self.tensors().items()}, windows=self.windows)
