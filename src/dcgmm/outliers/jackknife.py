"""Models that a training image had no part in, for scores of it that are those of a new one.

A model has adapted to each of a few large images, and scores them higher than new ones: p-values by such scores give
more false alarms than are asked for. To train without each in turn takes too long. But a mixture's parameters are sums
over the points of its images, and those of one can be taken out: with theta_M the closed-form M step by all images and
theta_M^-i that without image i, the model without it has theta + theta_M^-i - theta_M (of d = 1 / std the ratio).

Shapes: P points, K components, D features.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor

from dcgmm.images import Images
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.gmm import GMM
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.batches import batches

LEAST = 1e-6  # share of all points under which a component is left where it is


class Sums(NamedTuple):
    """What the M step of a GMM layer is made of, float64."""

    size: Tensor  # (K,), sum of responsibilities
    first: Tensor  # (K, D), of values by responsibility
    second: Tensor  # (K, D), of their squares

    @classmethod
    def of(cls, scored: Scored) -> Self:
        """Those of images that a layer with shared parameters has scored."""
        shares, values = scored.patches.points(scored.responsibilities).double().mT, scored.patches.values.double()
        return cls(shares.sum(-1), shares @ values, shares @ values.square())

    def plus(self, other: Self, sign: int = 1) -> Self:
        """Both together, or less the other."""
        return type(self)(*(one + sign * two for one, two in zip(self, other, strict=True)))


class MStep(NamedTuple):
    """The closed-form M step."""

    log_weights: Tensor  # (K,)
    mean: Tensor  # (K, D)
    variance: Tensor  # (K, D)
    used: Tensor  # (K, 1) bool, components that there are points of

    @classmethod
    def by(cls, sums: Sums, floor: float) -> Self:
        """By sums over points; no variance falls below a floor."""
        share = sums.size / sums.size.sum()
        size = sums.size.clamp(min=torch.finfo(torch.float64).tiny).unsqueeze(-1)
        mean = sums.first / size
        variance = (sums.second / size - mean.square()).clamp(min=floor)
        return cls(share.clamp(min=LEAST).log(), mean, variance, share.unsqueeze(-1) > LEAST)


@torch.no_grad()
def without_each(model: DCGMM, images: Images) -> Iterator[DCGMM]:
    """For each image the model as it would be without it, by one step: the same object each time.

    Args:
        model: one (no batch_shape), of layers with shared parameters.
        images: (N, H, W, C), N >= 2, that it was trained on.

    Source: Quenouille (1956), with the M step of Dempster, Laird & Rubin (1977).
    """
    total: dict[str, Sums] = {}
    for own in _sums(model, images):
        total = {name: each.plus(total[name]) if total else each for name, each in own.items()}
    other = copy.deepcopy(model)
    for own in _sums(model, images):
        for name, gmm in model.gmms.items():
            _set(other.gmms[name], gmm, total[name], own[name])
        yield other


def _sums(model: DCGMM, images: Images) -> Iterator[Mapping[str, Sums]]:
    """Of each image, by GMM layer."""
    for batch in batches(model, images, size=1):
        yield {name: Sums.of(scored) for name, scored in batch.scored(model).items()}


def _set(other: GMM, gmm: GMM, total: Sums, own: Sums) -> None:
    """Give a layer the parameters of another, less what it owes to some points."""
    floor = 1 / gmm.options.precision_limit
    every, rest = MStep.by(total, floor), MStep.by(total.plus(own, -1), floor)
    used = every.used & rest.used
    other.logits.copy_(gmm.log_weights + (rest.log_weights - every.log_weights))
    other.loc.copy_(torch.where(used, gmm.loc + (rest.mean - every.mean), gmm.loc))
    if not (isinstance(gmm, FactorGMM) and gmm.has_factors):  # whose precisions must stay above what factors take away
        ratio = torch.where(used, (every.variance / rest.variance).sqrt(), 1.0)
        limits = (gmm.options.precision_sqrt_min, gmm.options.precision_sqrt_max)
        other.precision_sqrt.copy_((gmm.precision_sqrt * ratio).clamp(*limits))
