"""A step in two halves: sums of points, which add up over batches, and the update that they give."""

import copy

import pytest
import torch
from torch import Tensor

from dcgmm.model import GMM, FactorGMM, Folding, Rates, Shape, Sums
from tests.conftest import ROUNDING, uniform
from tests.dcgmm.model.native.samples import (
    CASES,
    NEEDS_COMPILER,
    Case,
    assert_like,
    cases,
    in_float64,
    kernel_of,
    layers,
    rates,
)
from tests.dcgmm.small import give_factors

SHAPE, WINDOW, BATCH = Shape(4, 5, 2), ((2, 3), (2, 1)), 6


def added(parts: list[Sums]) -> Sums:
    """Sums of batches of as many points each, together."""
    first, *others = parts
    whole = [None if own is None else own + sum(more) for own, *more in zip(first, *others, strict=True)]
    return Sums(*whole)._replace(objective=whole[0] / len(parts))  # type: ignore[arg-type, operator]


def in_halves(gmm: GMM, folding: Folding, x: Tensor, kernel: Tensor | None) -> tuple[Tensor, Tensor]:
    """A step by the sums of two halves of a batch: objective and responsibilities as they were."""
    parts, passed = [], []
    for half in x.chunk(2, -4):
        sums, responsibilities = gmm.sums(folding.patches(half), kernel, passes_on=True)
        assert responsibilities is not None
        parts.append(sums)
        passed.append(responsibilities)
    sums = added(parts)
    points = x.shape[-4] * (gmm.output_shape.positions if gmm.shared else 1)
    speed = Rates(*(rate.to(gmm.loc.dtype) for rate in rates(tuple(gmm.logits.shape[:-1]))))
    gmm.update(sums, points, kernel, speed)
    return sums.objective, torch.cat(passed, -4)


def layer(kind: str, batch_shape: tuple[int, ...] = ()) -> tuple[Folding, GMM]:
    folding = Folding(SHAPE, *WINDOW)
    shape, shared = folding.output_shape, kind != "own"
    gmm: GMM
    if kind == "factors":
        gmm = FactorGMM(shape, 9, 3, batch_shape=batch_shape).double()
    else:
        gmm = GMM(shape, 9, batch_shape=batch_shape, shared=shared).double()
    with torch.no_grad():
        gmm.loc.copy_(uniform(*gmm.loc.shape, seed=2))
        gmm.precision_sqrt.copy_(1 + uniform(*gmm.precision_sqrt.shape, seed=3))
    return folding, give_factors(gmm) if isinstance(gmm, FactorGMM) else gmm


@pytest.mark.parametrize("kind", ["shared", "own", "factors"])
@pytest.mark.parametrize("batch_shape", [(), (2,)])
@pytest.mark.parametrize("sigma", [None, 0.8])
def test_sums_of_two_halves_make_the_step_of_the_whole(
    kind: str, batch_shape: tuple[int, ...], sigma: float | None
) -> None:
    folding, gmm = layer(kind, batch_shape)
    x, own = uniform(*batch_shape, BATCH, *SHAPE, seed=4), tuple(gmm.logits.shape[:-1])
    side = kernel_of(9, sigma)
    kernel = None if side is None else side.double().expand(*own, 3, 3)
    whole = copy.deepcopy(gmm)
    speed = Rates(*(rate.double() for rate in rates(own)))
    value, passed = whole.step(folding.patches(x), kernel, speed, passes_on=True)
    assert passed is not None
    objective, responsibilities = in_halves(gmm, folding, x, kernel)
    torch.testing.assert_close(objective, value, **ROUNDING)
    torch.testing.assert_close(responsibilities, passed, **ROUNDING)
    for name, parameter in gmm.named_parameters():
        torch.testing.assert_close(parameter, whole.get_parameter(name), **ROUNDING)


@NEEDS_COMPILER
@cases
@pytest.mark.parametrize("sigma", [None, 0.4])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_compiled_halves_make_the_same_bits_as_the_compiled_step(case: Case, sigma: float | None, threads: int) -> None:
    folding, gmm, x = layers(case)
    kernel, whole, before = kernel_of(case[4], sigma), copy.deepcopy(gmm), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        value, passed = whole.step(folding.patches(x), kernel, rates(), passes_on=True)
        sums, responsibilities = gmm.sums(folding.patches(x), kernel, passes_on=True)
        gmm.update(sums, case[0] * gmm.output_shape.positions, kernel, rates())
    finally:
        torch.set_num_threads(before)
    assert passed is not None
    assert responsibilities is not None
    assert torch.equal(sums.objective, value)
    assert torch.equal(responsibilities, passed)
    for name, parameter in gmm.named_parameters():
        assert torch.equal(parameter, whole.get_parameter(name)), name


@NEEDS_COMPILER
@pytest.mark.parametrize("case", CASES[:2])
def test_compiled_halves_of_models_side_by_side_are_those_of_tensors(case: Case) -> None:
    folding, gmm, x = layers((case[0] // 2 * 2, *case[1:]), (2,))
    side = kernel_of(case[4], 0.6)
    assert side is not None
    kernel = side.expand(2, *side.shape)
    exact, _, _ = in_float64(folding, gmm, x, kernel, rates((2,)))
    in_halves(gmm, folding, x, kernel)
    assert_like(gmm, exact)
