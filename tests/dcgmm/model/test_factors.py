import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from dcgmm.model import factors as module
from dcgmm.model.factors import (
    FactorGradient,
    Won,
    add_factors,
    capacitance,
    cross_sums,
    factor_gradient,
    factor_parameters,
    factor_scores,
    project,
    pull_factors,
    start_factors,
    winners,
)
from dcgmm.model.gaussian import natural_parameters, objective_gradient
from dcgmm.model.patches import SINGLE, Patches
from tests.conftest import EXACT, ROUNDING, Tolerance, normal, uniform

FLOOR = 0.02
NEAR_FLOOR = Tolerance(rtol=1e-9, atol=1e-9)  # float64, with eigenvalues of M at the floor
SHAPES = [(4, 3, 1), (9, 5, 2), (25, 20, 6), (1, 2, 1), (4, 6, 5), (1, 1, 0), (9, 4, 0)]  # K, D, L


def mixture(
    components: int, features: int, factors: int, *batch: int, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, loc, precision_sqrt and factors, of which some lie at the floor."""
    logits = normal(*batch, components, seed=seed)
    loc = normal(*batch, components, features, seed=seed + 1)
    precision_sqrt = 0.5 + uniform(*batch, components, features, seed=seed + 2)
    drawn = 0.4 * normal(*batch, components, features, factors, seed=seed + 3)
    return logits, loc, precision_sqrt, project(precision_sqrt, drawn, FLOOR)


def dense_precision(precision_sqrt: Tensor, factors: Tensor) -> Tensor:
    return torch.diag_embed(precision_sqrt**2) - factors @ factors.mT


def dense_scores(x: Tensor, log_weights: Tensor, loc: Tensor, precision_sqrt: Tensor, factors: Tensor) -> Tensor:
    """Scores by torch.distributions; (..., P, K)."""
    precision = dense_precision(precision_sqrt, factors)
    components = MultivariateNormal(loc.unsqueeze(-3), precision_matrix=precision.unsqueeze(-4))
    log_density: Tensor = components.log_prob(x.unsqueeze(-2))
    return log_density + log_weights.unsqueeze(-2)


def diagonal_scores(x: Tensor, log_weights: Tensor, loc: Tensor, precision_sqrt: Tensor) -> Tensor:
    """Scores as a GMM layer has them."""
    maps = Patches(x.unsqueeze(-2).unsqueeze(-2), SINGLE)
    return maps.contract(*natural_parameters(log_weights, loc, precision_sqrt)).flatten(-4, -2)


def means(x: Tensor, winner: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    return Patches(x.unsqueeze(-2).unsqueeze(-2), SINGLE).means(winner, components)


def score_and_gradient(
    x: Tensor, logits: Tensor, loc: Tensor, precision_sqrt: Tensor, factors: Tensor
) -> tuple[Won, FactorGradient]:
    """A step of a GMM layer, up to its ascent."""
    log_weights = logits.log_softmax(-1)
    parameters = factor_parameters(loc, precision_sqrt, factors)
    won = winners(diagonal_scores(x, log_weights, loc, precision_sqrt), x, parameters)
    sums = means(x, won.winner, loc.shape[-2])
    diagonal = objective_gradient(sums, None, log_weights, loc, precision_sqrt, precision_sqrt.square())
    return won, factor_gradient(diagonal, sums, cross_sums(x, won) / x.shape[-2], loc, precision_sqrt, parameters)


@pytest.mark.parametrize(("components", "features", "factors"), SHAPES)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_scores_are_those_of_dense_gaussians(
    components: int, features: int, factors: int, batch: tuple[int, ...]
) -> None:
    logits, *rest = mixture(components, features, factors, *batch)
    x = 2 * normal(*batch, 30, features, seed=9)
    log_weights = logits.log_softmax(-1)
    scores = factor_scores(x, log_weights, *rest)
    assert scores.shape == (*batch, 30, components)
    torch.testing.assert_close(scores, dense_scores(x, log_weights, *rest), **NEAR_FLOOR)


@pytest.mark.parametrize(("features", "factors"), [(2, 1), (3, 1), (3, 2)])
def test_density_integrates_to_one(features: int, factors: int) -> None:
    logits, loc, precision_sqrt, gamma = mixture(4, features, factors)
    gamma = project(precision_sqrt, gamma, 0.5)  # no longer than the box
    grid = torch.linspace(-25, 25, 101, dtype=torch.float64)
    x = torch.cartesian_prod(*[grid] * features)
    scores = factor_scores(x, logits.log_softmax(-1), loc, precision_sqrt, gamma)
    total = float(scores.logsumexp(-1).exp().sum()) * float(grid[1] - grid[0]) ** features
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_no_factors_are_the_diagonal_gaussians_bit_for_bit(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    logits, loc, precision_sqrt, gamma = (value.to(dtype) for value in mixture(9, 7, 0, *batch))
    log_weights, x = logits.log_softmax(-1), normal(*batch, 20, 7).to(dtype)
    diagonal = diagonal_scores(x, log_weights, loc, precision_sqrt)
    torch.testing.assert_close(factor_scores(x, log_weights, loc, precision_sqrt, gamma), diagonal, **EXACT)
    parameters = factor_parameters(loc, precision_sqrt, gamma)
    assert add_factors(diagonal, x, parameters) is diagonal
    assert project(precision_sqrt, gamma, FLOOR) is gamma

    won = winners(diagonal, x, parameters)
    torch.testing.assert_close(won.scores, diagonal, **EXACT)
    sums = means(x, won.winner, 9)
    expected = objective_gradient(sums, None, log_weights, loc, precision_sqrt, precision_sqrt.square())
    gradient = factor_gradient(expected, sums, cross_sums(x, won) / 20, loc, precision_sqrt, parameters)
    for name, value in expected._asdict().items():
        torch.testing.assert_close(getattr(gradient, name), value, **EXACT)
    assert gradient.factors.shape == (*batch, 9, 7, 0)


@pytest.mark.parametrize(("components", "features", "factors"), SHAPES)
@pytest.mark.parametrize("points", [1, 40])
def test_closed_gradient_is_autograds(components: int, features: int, factors: int, points: int) -> None:
    logits, *rest = (value.requires_grad_() for value in mixture(components, features, factors))
    x = 2 * normal(points, features, seed=9)
    value = dense_scores(x, logits.log_softmax(-1), *rest).max(-1).values
    expected = torch.autograd.grad(value.mean(), (logits, *rest))
    with torch.no_grad():
        won, gradient = score_and_gradient(x, logits, *rest)
    torch.testing.assert_close(won.value, value.detach(), **NEAR_FLOOR)
    for closed, automatic in zip(gradient[:4], expected, strict=True):
        torch.testing.assert_close(closed, automatic, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(gradient.share, won.winner.bincount(minlength=components).double() / points)


def test_scores_can_be_differentiated() -> None:
    logits, *rest = (value.requires_grad_() for value in mixture(4, 5, 2))
    x = normal(6, 5).requires_grad_()
    found = torch.autograd.grad(factor_scores(x, logits, *rest).logsumexp(-1).sum(), (x, logits, *rest))
    expected = torch.autograd.grad(dense_scores(x, logits, *rest).logsumexp(-1).sum(), (x, logits, *rest))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_gradient_with_respect_to_points_is_autograds() -> None:
    _, loc, precision_sqrt, gamma = mixture(9, 6, 3, 2)
    x, weights = normal(2, 15, 6, seed=5).requires_grad_(), uniform(2, 15, 9, seed=6)
    parameters = factor_parameters(loc, precision_sqrt, gamma)
    added = (weights * add_factors(torch.zeros(2, 15, 9, dtype=torch.float64), x, parameters)).sum()
    (expected,) = torch.autograd.grad(added, x)
    torch.testing.assert_close(pull_factors(weights, x.detach(), parameters), expected, **ROUNDING)


def test_models_side_by_side_equal_each_alone() -> None:
    given = mixture(9, 5, 3, 2, 2)
    x = normal(2, 2, 30, 5, seed=9)
    won, gradient = score_and_gradient(x, *given)
    for place in ((0, 0), (1, 0), (1, 1)):
        alone, single = score_and_gradient(x[place], *(value[place] for value in given))
        assert torch.equal(won.winner[place], alone.winner)
        for together, one in zip((*won, *gradient), (*alone, *single), strict=True):
            torch.testing.assert_close(together[place], one, **ROUNDING)


def test_points_shared_by_models_side_by_side() -> None:
    logits, *rest = mixture(4, 5, 2, 3)
    x = normal(8, 5)
    expected = factor_scores(x.expand(3, 8, 5), logits, *rest)
    torch.testing.assert_close(factor_scores(x, logits, *rest), expected, **ROUNDING)


@pytest.mark.parametrize("points_a_block", [1, 7, 10])
def test_blocks_of_points_make_no_difference(monkeypatch: pytest.MonkeyPatch, points_a_block: int) -> None:
    given, x, weights = mixture(9, 5, 3, 2), normal(2, 20, 5, seed=9), uniform(2, 20, 9)
    whole, gradient = score_and_gradient(x, *given)
    pulled = pull_factors(weights, x, factor_parameters(*given[1:]))
    monkeypatch.setattr(module, "BLOCK", points_a_block * 2 * 9 * 3 * 8)
    assert len(list(module.projections(x, factor_parameters(*given[1:])))) == math.ceil(20 / points_a_block)
    won, again = score_and_gradient(x, *given)
    for blocks, at_once in zip((*won, *again), (*whole, *gradient), strict=True):
        torch.testing.assert_close(blocks, at_once, **ROUNDING)
    torch.testing.assert_close(factor_scores(x, given[0].log_softmax(-1), *given[1:]), whole.scores, **ROUNDING)
    torch.testing.assert_close(pull_factors(weights, x, factor_parameters(*given[1:])), pulled, **ROUNDING)


def test_winners_are_the_best_and_projected_by_their_own_factors() -> None:
    logits, loc, precision_sqrt, gamma = mixture(9, 5, 2)
    x = normal(40, 5, seed=9)
    won, _ = score_and_gradient(x, logits, loc, precision_sqrt, gamma)
    log_weights = logits.log_softmax(-1)
    torch.testing.assert_close(won.scores, factor_scores(x, log_weights, loc, precision_sqrt, gamma), **ROUNDING)
    assert torch.equal(won.winner, won.scores.argmax(-1))
    own = gamma[won.winner].mT @ (x - loc[won.winner]).unsqueeze(-1)
    torch.testing.assert_close(won.projection, own.squeeze(-1), **ROUNDING)


def test_cross_sums_are_those_of_the_points_won() -> None:
    given, x = mixture(9, 5, 2), normal(12, 5, seed=9)
    won, _ = score_and_gradient(x, *given)
    assert len(won.winner.unique()) < 9  # some win nothing
    found = cross_sums(x, won)
    for component in range(9):
        mine = won.winner == component
        torch.testing.assert_close(found[component], x[mine].mT @ won.projection[mine], **ROUNDING)


@pytest.mark.parametrize(("components", "features", "factors"), [(9, 784, 16), (4, 6, 5)])
def test_float32_agrees_with_float64_at_the_floor(components: int, features: int, factors: int) -> None:
    logits, loc, precision_sqrt, gamma = mixture(components, features, factors)
    precision_sqrt = (4.4 * precision_sqrt).clamp(max=math.sqrt(20)).float().double()
    gamma = project(precision_sqrt, 10 * gamma, FLOOR).float().double()
    loc = uniform(components, features).float().double()
    x = uniform(50, features, seed=9).float().double()
    log_weights = logits.log_softmax(-1).float().double()
    double = (x, log_weights, loc, precision_sqrt, gamma)
    single = factor_scores(*(value.float() for value in double))
    torch.testing.assert_close(single.double(), factor_scores(*double), rtol=1e-5, atol=5e-3)


def test_projection_leaves_good_factors_but_for_a_rotation() -> None:
    _, _, precision_sqrt, _ = mixture(9, 6, 3, 2)
    gamma = 0.1 * normal(2, 9, 6, 3)
    projected = project(precision_sqrt, gamma, FLOOR)
    torch.testing.assert_close(projected @ projected.mT, gamma @ gamma.mT, **ROUNDING)
    inner = capacitance(precision_sqrt, projected)
    lengths = 1 - inner.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(inner, torch.eye(3, dtype=torch.float64) - lengths.diag_embed(), **ROUNDING)
    assert bool((lengths.diff() <= 0).all()), "the strongest first"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("floor", [0.02, 0.3])
def test_projection_brings_bad_factors_to_the_floor(dtype: torch.dtype, floor: float) -> None:
    precision_sqrt = (0.5 + uniform(9, 8)).to(dtype)
    gamma = normal(9, 8, 3, seed=1).to(dtype)
    before = torch.linalg.eigvalsh(capacitance(precision_sqrt, gamma))
    assert bool((before < 0).any())
    projected = project(precision_sqrt, gamma, floor)
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    after = torch.linalg.eigvalsh(capacitance(precision_sqrt, projected))
    torch.testing.assert_close(after, before.clamp(min=floor), rtol=tolerance, atol=tolerance)
    assert bool((torch.linalg.eigvalsh(dense_precision(precision_sqrt, projected)) > 0).all())
    # What it projects to, it leaves.
    again = project(precision_sqrt, projected, floor)
    torch.testing.assert_close(again @ again.mT, projected @ projected.mT, rtol=tolerance, atol=10 * tolerance)


def test_a_model_that_has_diverged_leaves_the_others_alone() -> None:
    logits, loc, precision_sqrt, gamma = mixture(4, 5, 2, 3)
    gamma[1, 2], x = torch.nan, normal(3, 10, 5)
    projected = project(precision_sqrt, gamma, FLOOR)
    won, gradient = score_and_gradient(x, logits, loc, precision_sqrt, projected)
    for value in (projected, won.scores, *gradient[1:4]):
        assert bool(value[[0, 2]].isfinite().all())
        assert not bool(value[1].isfinite().all())


def test_an_indefinite_precision_has_no_density() -> None:
    logits, loc, precision_sqrt, gamma = mixture(4, 5, 2)
    gamma[1] *= 10
    scores = factor_scores(normal(3, 5), logits, loc, precision_sqrt, gamma)
    assert scores.isnan().any(0).tolist() == [False, True, False, False]


@pytest.mark.parametrize("batch", [(), (2,)])
def test_start_is_orthogonal_of_length_a_half_by_seed(batch: tuple[int, ...]) -> None:
    started = start_factors(4, 6, 3, torch.Generator().manual_seed(5), batch)
    assert started.shape == (*batch, 4, 6, 3)
    assert started.dtype == torch.float32
    gram = started.mT @ started
    torch.testing.assert_close(gram, 0.25 * torch.eye(3).expand_as(gram))
    assert torch.equal(started, start_factors(4, 6, 3, torch.Generator().manual_seed(5), batch))
    precision_sqrt = torch.full((4, 6), 2.0)
    torch.testing.assert_close(capacitance(precision_sqrt, started), (1 - 0.25 / 4) * torch.eye(3).expand_as(gram))


def test_start_has_no_direction_of_its_own() -> None:
    started = start_factors(2000, 3, 2, torch.Generator().manual_seed(5)).double()
    assert float(started.mean(0).abs().max()) < 4 * 0.5 / math.sqrt(3 * 2000)


def test_ascent_reaches_the_sample_covariance() -> None:
    """One component, its factors as many as there are strong directions: maximum likelihood is the sample itself."""
    deviation = normal(400, 3) @ torch.tensor([[1.0, 0.5, 0.3], [0, 1, 0.2], [0, 0, 1]], dtype=torch.float64)
    x = deviation - deviation.mean(0)
    logits, loc = torch.zeros(1, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    precision_sqrt = torch.ones(1, 3, dtype=torch.float64)
    gamma = start_factors(1, 3, 2, torch.Generator().manual_seed(0)).double()
    for _ in range(500):
        _, gradient = score_and_gradient(x, logits, loc, precision_sqrt, gamma)
        loc = loc + 0.1 * gradient.loc
        precision_sqrt = (precision_sqrt + 0.1 * gradient.precision_sqrt).clamp(0.1, 10)
        gamma = project(precision_sqrt, gamma + 0.1 * gradient.factors, 0.005)
    precision = dense_precision(precision_sqrt, gamma)[0]
    torch.testing.assert_close(precision.inverse(), x.mT @ x / 400, rtol=1e-3, atol=1e-3)
