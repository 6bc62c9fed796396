"""How rare scores are among images that are no outliers: calibrated p-values.

Shapes: N images, H W positions of a GMM layer, Q knots.
"""

import functools
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.errors import InputError

KNOTS = 1000
# Below the lowest tenth of all values, at least 5 and at most 25 of them, their tail is taken for exponential.
TAIL_SHARE, TAIL_LEAST, TAIL_MOST = 0.1, 5, 25
LEFT_OUT = (
    2 * TAIL_MOST
)  # lowest values that are compared with all others; where there are so many below, one counts little
AUTO = (
    "joint",
    "pixels",
    "worst_region",
)  # what auto asks, where there are such, beside the worst position of each layer


@dataclass(frozen=True)
class Distribution:
    """A score's distribution over images: its logarithm is linear between knots, and beyond the lowest one.

    At the r-th smallest of n values p = r / (n + 1). Beyond the k-th smallest, u, where k is a tenth of n in [5, 25]
    (all, of fewer), the tail is exponential, p = k / (n + 1) exp(-(u - s) / b), b being the mean of u - s over the k.
    Of many values knots at log-spaced ranks are kept. Few values are a coarse ruler: p from 1 / (n + 1) down
    is extrapolated.
    """

    count: int
    values: Tensor  # (Q,) float64, rising
    log_p: Tensor  # (Q,)
    scale: float  # b

    @classmethod
    def of(cls, values: Tensor) -> Self:  # (N,), N >= 1
        """The distribution of values, of which those that are NaN or infinite are left out.

        Examples:
            >>> uniform = Distribution.of(torch.arange(1.0, 100.0))
            >>> round(uniform.value(0.5), 3), round(float(uniform.p_values(torch.tensor(20.0))), 3)
            (50.0, 0.2)
        """
        ordered = values.flatten().double()
        ordered = ordered[ordered.isfinite()].sort().values
        return cls.of_lowest(ordered, len(ordered)) if len(ordered) else cls.of(values.new_zeros(1))

    @classmethod
    def of_lowest(cls, ordered: Tensor, n: int) -> Self:  # (M,) float64, rising
        """The lower end of the distribution of n finite values, of which the lowest M are known, ties included."""
        k = min(n, max(TAIL_LEAST, min(TAIL_MOST, int(TAIL_SHARE * n))))
        every = _ranks(k, n)
        ranks = torch.from_numpy(every[every <= len(ordered)]).to(ordered.device)
        knots = ordered[ranks - 1].unique_consecutive()
        up_to = torch.searchsorted(ordered, knots, right=True)  # ties count as the last of them
        scale = float((knots[0] - ordered[:k]).mean())
        # Where the lowest are all alike, what lies under them is as good as impossible.
        least = 1e-9 * max(1.0, float(knots[0].abs()))
        if len(knots) == 1:
            knots, up_to = torch.cat([knots, knots + 1]), up_to.repeat(2)
        return cls(n, knots, (up_to.double() / (n + 1)).log(), max(scale, least))

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Self:
        """The distribution that `state_dict` was taken of."""
        values, log_p = state["values"].to(device), state["log_p"].to(device)
        return cls(state["count"], values, log_p, state["scale"])

    def state_dict(self) -> dict[str, Any]:
        """The parts by name."""
        return asdict(self)

    def sound(self) -> bool:
        """Whether it can be a distribution: rising values and p-values."""
        one = self.values.dim() == 1 and len(self.values) > 1 and self.log_p.shape == self.values.shape
        return (
            one
            and type(self.count) is int
            and math.isfinite(self.scale)
            and self.scale > 0
            and bool(self.values.isfinite().all() and (self.values.diff() > 0).all())
            and bool(self.log_p.isfinite().all() and (self.log_p.diff() >= 0).all() and (self.log_p < 0).all())
        )

    def log_p_values(self, scores: Tensor) -> Tensor:  # (...) -> (...), float64
        """Logarithm of the share of images that score at most so; NaN of NaN."""
        s = scores.double().contiguous()
        left = (torch.searchsorted(self.values, s, right=True) - 1).clamp(0, len(self.values) - 2)
        low, high = self.values[left], self.values[left + 1]
        part = ((s - low) / (high - low)).clamp(0, 1)  # 0 below the knots
        inside = self.log_p[left] + part * (self.log_p[left + 1] - self.log_p[left])
        return inside - (self.values[0] - s).clamp(min=0) / self.scale

    def p_values(self, scores: Tensor) -> Tensor:  # (...) -> (...), float64
        """The share of images that score at most so."""
        return self.log_p_values(scores).exp()

    def value(self, p: float) -> float:
        """The score that a share p of the images, in (0, 1), are at most at."""
        log_p, first = math.log(p), float(self.log_p[0])
        if log_p < first:
            return float(self.values[0]) - self.scale * (first - log_p)
        return float(np.interp(log_p, self.log_p.cpu().numpy(), self.values.cpu().numpy()))


@dataclass(frozen=True)
class Calibration:
    """Distributions over images that are no outliers, and what follows from them alone."""

    scores: dict[str, Distribution]  # of all scores, auto too
    worst: dict[str, Distribution]  # by layer that says where: of an image's smallest standardised log-likelihood
    positions: dict[str, Distribution]  # of standardised log-likelihoods at all its positions together

    @classmethod
    def of(
        cls, scores: Mapping[str, Tensor], worst: Mapping[str, Tensor], positions: Mapping[str, Tensor]
    ) -> tuple[Self, Tensor]:
        """The calibration by some images, and their own `auto`.

        Args:
            scores: (N,) each, all but auto.
            worst: (N,) each, an image's smallest standardised log-likelihood, by layer that says where.
            positions: standardised log-likelihoods of positions, by such a layer.
        """
        found = [_distributions(each) for each in (scores, worst, positions)]
        auto = _least(map(among_others, [*(scores[name] for name in AUTO if name in scores), *worst.values()]))
        found[0]["auto"] = Distribution.of(auto)
        return cls(*found), auto

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Self:
        """The calibration that `state_dict` was taken of."""
        groups = ("scores", "worst", "positions")
        return cls(
            *({name: Distribution.from_state(part, device) for name, part in state[group].items()} for group in groups)
        )

    def state_dict(self) -> dict[str, Any]:
        """The parts by name."""
        groups = {"scores": self.scores, "worst": self.worst, "positions": self.positions}
        return {group: {name: each.state_dict() for name, each in parts.items()} for group, parts in groups.items()}

    def check(self, scores: Collection[str], layers: Collection[str]) -> None:
        """Refuse what is no calibration of these scores, and of these layers that say where.

        Raises:
            InputError: it has others, or what is no distribution.
        """
        groups = ((self.scores, scores), (self.worst, layers), (self.positions, layers))
        for found, names in groups:
            if found.keys() != set(names) or not all(each.sound() for each in found.values()):
                others = f"{', '.join(map(str, found))}; this one has {', '.join(names)}"
                raise InputError(f"the detector's p-values are of another model ({others}), or no distributions")

    def auto(self, scores: Mapping[str, Tensor], worst: Mapping[str, Tensor]) -> Tensor:  # (N,) each -> (N,)
        """Logarithm of the smallest p-value of the scores of `AUTO` and of the worst position of each layer.

        It is a score as the others are: how rare it is, its own distribution says.
        """
        parts = [
            self.scores[name].log_p_values(scores[name]) for name in AUTO if name in scores and name in self.scores
        ]
        return _least([*parts, self.worst_log_p(worst)])

    def worst_log_p(self, worst: Mapping[str, Tensor]) -> Tensor:  # (N,) each -> (N,)
        """Logarithm of the smallest p-value of a layer's worst position, among the worst of as many positions."""
        return _least(self.worst[name].log_p_values(values) for name, values in worst.items())

    def position_log_p(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:  # (N, H, W) each
        """Logarithm of the p-value at each position of the layers that say where, among all positions of its layer."""
        return {name: each.log_p_values(maps[name]) for name, each in self.positions.items()}


def among_others(values: Tensor) -> Tensor:  # (N,) -> (N,) float64
    """Logarithm of each value's p-value among the others, as a new one's is: by a distribution that it is no part of.

    Else the lowest of n could have no p-value below 1 / (n + 1), as new values have, and what is told by several
    scores, as by `auto`, would give more false alarms than are asked for.

    Example:
        >>> among_others(torch.arange(1.0, 100.0)).exp()[:2]
        tensor([0.0096, 0.0130], dtype=torch.float64)
    """
    found = Distribution.of(values).log_p_values(values)
    finite = values.double().where(values.isfinite(), math.inf)
    ordered, rows = finite.sort()
    count = int(finite.isfinite().sum())
    if count > 1:  # the lowest are enough to compare the lowest with
        known = int(torch.searchsorted(ordered[:count], ordered[min(2 * LEFT_OUT, count) - 1], right=True))
        for place, row in enumerate(rows[: min(LEFT_OUT, count)].tolist()):
            others = torch.cat([ordered[:place], ordered[place + 1 : known]])
            found[row] = Distribution.of_lowest(others, count - 1).log_p_values(ordered[place])
    return found


@functools.lru_cache(maxsize=8)
def _ranks(first: int, last: int) -> NDArray[np.int64]:  # (at most KNOTS,)
    """Log-spaced ranks, rising: many distributions are of as many values."""
    return np.unique(np.geomspace(first, last, KNOTS).round().astype(np.int64))


def _distributions(values: Mapping[str, Tensor]) -> dict[str, Distribution]:
    return {name: Distribution.of(each) for name, each in values.items()}


def _least(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).amin(0)  # NaN where one is
