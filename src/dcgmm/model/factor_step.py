"""A step of a factor-analysing GMM layer by compiled passes: `FactorGMM.step`, of one model after the other.

Shapes: P points, K components, D features, L factors; factors as rows (L, K, D), as in `factors`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dcgmm.model import native
from dcgmm.model.factors import add_factors, factor_parameters
from dcgmm.model.gaussian import natural_parameters, smoothed_winner
from dcgmm.model.native import factors as compiled
from dcgmm.model.options import GMMOptions
from dcgmm.model.patches import Patches
from dcgmm.model.scored import Rates


class Parameters(NamedTuple):
    """What a step changes, in place."""

    logits: Tensor  # (..., K)
    loc: Tensor  # (..., K, D)
    precision_sqrt: Tensor  # (..., K, D)
    rows: Tensor  # (..., L, K, D)


def takes(patches: Patches, parameters: Parameters, kernel: Tensor | None) -> bool:
    """Whether `step` can: float32 on a CPU, a compiler, and no model has factors that still anneals."""
    together = patches.x.dim() == parameters.logits.dim() + 3 and parameters.rows.is_contiguous()
    if not (together and compiled.takes(patches.x, *parameters)):
        return False
    if kernel is None:
        return True
    sides, rows = _by_model(kernel, 2), _by_model(parameters.rows, 3)
    return not any(_smoothes(side) and bool(own.any()) for side, own in zip(sides, rows, strict=True))


def step(
    patches: Patches,  # of (..., N, H, W, C)
    parameters: Parameters,
    kernel: Tensor | None,  # (..., S, S)
    rates: Rates,  # (...) each
    options: GMMOptions,
    held: Tensor | None,  # (...), bool
    *,
    passes_on: bool,
) -> tuple[Tensor, Tensor | None]:  # (...), (..., N, H', W', K)
    """Of what `takes` is true of: the objective and the responsibilities that it started from."""
    batch_shape, limits = parameters.logits.shape[:-1], (options.precision_sqrt_min, options.precision_sqrt_max)
    maps, sides = _by_model(patches.x, 4), None if kernel is None else _by_model(kernel, 2)
    results = []
    for n in range(batch_shape.numel()):
        own = Parameters(*(_by_model(each, each.dim() - len(batch_shape))[n] for each in parameters))
        speed = Rates(*(rate.reshape(-1)[n] for rate in rates))
        if sides is not None and _smoothes(sides[n]):
            of_one = native.step(maps[n], patches.window, own[:3], sides[n], speed[:3], limits, passes_on=passes_on)
        else:
            waits = held is not None and bool(held.reshape(-1)[n])
            of_one = _step(Patches(maps[n], patches.window), own, speed, options, held=waits, passes_on=passes_on)
        results.append(of_one)
    value = _together([value for value, _ in results], batch_shape)
    return value, _together([each for _, each in results if each is not None], batch_shape) if passes_on else None


def _step(
    patches: Patches, parameters: Parameters, rates: Rates, options: GMMOptions, *, held: bool, passes_on: bool
) -> tuple[Tensor, Tensor | None]:
    logits, loc, precision_sqrt, rows = parameters
    log_weights = logits.log_softmax(-1)
    natural = natural_parameters(log_weights, loc, precision_sqrt)
    diagonal = patches.contract(*natural)
    of_points = diagonal.flatten(0, -2)
    scores = of_points
    if passes_on or not held:  # else nothing asks for the product of all points with all factors, nearly all the work
        scores = add_factors(of_points, patches.values, factor_parameters(loc, precision_sqrt, rows.movedim(0, -1)))
    responsibilities = native.responsibilities(scores).view(diagonal.shape) if passes_on else None
    _, winner = smoothed_winner(of_points if held else scores, None)
    values = compiled.ascend(
        *(patches.values, winner, of_points, (loc, precision_sqrt, rows), rates[1:]),
        *((options.precision_sqrt_min, options.precision_sqrt_max), options.factor_floor),
    )
    share = winner.bincount(minlength=len(logits)).to(logits.dtype) / len(winner)
    logits.addcmul_(share - log_weights.exp(), rates.logits)
    return values.mean(), responsibilities


def _smoothes(kernel: Tensor) -> bool:  # (S, S)
    return not torch.equal(kernel, torch.eye(len(kernel), dtype=kernel.dtype))


def _by_model(tensor: Tensor, dimensions: int) -> Tensor:
    """All models in one first dimension, and so many behind it."""
    return tensor.reshape(-1, *tensor.shape[tensor.dim() - dimensions :])


def _together(values: Sequence[Tensor], batch_shape: tuple[int, ...]) -> Tensor:
    return torch.stack(list(values)).view(*batch_shape, *values[0].shape) if batch_shape else values[0]
