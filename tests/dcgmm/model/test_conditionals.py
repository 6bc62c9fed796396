import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from dcgmm.model import factors as module
from dcgmm.model.conditionals import (
    conditional_draw,
    conditional_mean,
    covariance,
    draw,
    marginal_factors,
    marginal_scores,
)
from dcgmm.model.factors import factor_scores
from tests.conftest import EXACT, ROUNDING, normal, uniform
from tests.dcgmm.model.test_factors import NEAR_FLOOR, SHAPES, dense_precision, mixture

DRAWS = 200_000


def masks(count: int, features: int) -> Tensor:  # (Q, D)
    """Random masks, after one that observes nothing and one that observes everything."""
    drawn = uniform(count, features, seed=7) < 0.5
    drawn[0], drawn[1] = False, True
    return drawn


def dense_conditional(
    x: Tensor, observed: Tensor, loc: Tensor, precision_sqrt: Tensor, factors: Tensor
) -> tuple[Tensor, Tensor]:  # mean and covariance of the missing features of one component
    """By blocks of the covariance, not of the precision."""
    full = dense_precision(precision_sqrt, factors).inverse()
    o, m = observed, ~observed
    gain = full[m][:, o] @ full[o][:, o].inverse()
    return loc[m] + gain @ (x - loc)[o], full[m][:, m] - gain @ full[o][:, m]


def assert_moments(drawn: Tensor, mean: Tensor, expected: Tensor) -> None:
    """Sample mean and covariance within 4.5 standard errors everywhere."""
    variance = expected.diagonal()
    count = len(drawn)
    assert bool(((drawn.mean(0) - mean).abs() <= 4.5 * (variance / count).sqrt()).all())
    error = ((variance[:, None] * variance + expected**2) / count).sqrt()
    assert bool(((drawn.mT.cov() - expected).abs() <= 4.5 * error).all())


@pytest.mark.parametrize(("components", "features", "factors"), SHAPES)
def test_covariance_is_the_inverse_of_the_precision(components: int, features: int, factors: int) -> None:
    _, _, precision_sqrt, gamma = mixture(components, features, factors, 2)
    expected = dense_precision(precision_sqrt, gamma).inverse()
    torch.testing.assert_close(covariance(precision_sqrt, gamma), expected, **NEAR_FLOOR)


@pytest.mark.parametrize(("features", "factors"), [(2, 1), (5, 2), (4, 3)])
def test_draws_have_the_covariance_of_their_component(features: int, factors: int) -> None:
    _, loc, precision_sqrt, gamma = mixture(4, features, factors)
    components = torch.arange(4).repeat_interleave(DRAWS)
    pixel, factor = normal(4 * DRAWS, features, seed=1), normal(4 * DRAWS, factors, seed=2)
    drawn = draw(loc, precision_sqrt, gamma, components, pixel, factor)
    for k, mine in enumerate(drawn.split(DRAWS)):
        assert_moments(mine, loc[k], covariance(precision_sqrt[k], gamma[k]))


def test_scales_of_pixel_and_factor_noise() -> None:
    _, loc, precision_sqrt, gamma = mixture(1, 4, 2)
    components = torch.zeros(DRAWS, dtype=torch.long)
    pixel, factor = normal(DRAWS, 4, seed=1), normal(DRAWS, 2, seed=2)
    drawn = draw(loc, precision_sqrt, gamma, components, pixel, factor, 0.3, 0.5)
    diagonal = torch.diag_embed(precision_sqrt**-2)[0]
    low_rank = covariance(precision_sqrt, gamma)[0] - diagonal
    assert_moments(drawn, loc[0], 0.09 * diagonal + 0.25 * low_rank)
    still = draw(loc, precision_sqrt, gamma, components[:5], pixel[:5], factor[:5], 0.0, 0.0)
    torch.testing.assert_close(still, loc.expand(5, 4), **EXACT)


def test_draws_take_any_map_of_components() -> None:
    _, loc, precision_sqrt, gamma = mixture(9, 5, 2)
    components = torch.randint(9, (3, 2, 4), generator=torch.Generator().manual_seed(0))
    pixel, factor = normal(3, 2, 4, 5, seed=1), normal(3, 2, 4, 2, seed=2)
    drawn = draw(loc, precision_sqrt, gamma, components, pixel, factor)
    one = draw(loc, precision_sqrt, gamma, components[2, 1, :1], pixel[2, 1, :1], factor[2, 1, :1])
    torch.testing.assert_close(drawn[2, 1, :1], one, **ROUNDING)
    assert drawn.shape == (3, 2, 4, 5)


def test_draws_without_factors_are_the_diagonal_gaussians_bit_for_bit() -> None:
    _, loc, precision_sqrt, gamma = mixture(9, 5, 0)
    components, pixel = torch.tensor([[3], [8]]), normal(2, 1, 5)
    drawn = draw(loc, precision_sqrt, gamma, components, pixel, normal(2, 1, 0), 0.7)
    expected = torch.addcdiv(loc[components], pixel, precision_sqrt[components], value=0.7)
    torch.testing.assert_close(drawn, expected, **EXACT)


@pytest.mark.parametrize(("components", "features", "factors"), SHAPES)
def test_marginal_precision_is_that_of_the_dense_block(components: int, features: int, factors: int) -> None:
    _, _, precision_sqrt, gamma = mixture(components, features, factors)
    observed = masks(6, features)
    found = marginal_factors(precision_sqrt, gamma, observed[:, None])
    assert found.shape == (6, components, features, factors)
    full = dense_precision(precision_sqrt, gamma).inverse()
    for mask, ours in zip(observed, found, strict=True):
        for k in range(components):
            assert not bool(ours[k][~mask].any())
            precision = dense_precision(precision_sqrt[k][mask], ours[k][mask])
            torch.testing.assert_close(precision, full[k][mask][:, mask].inverse(), **NEAR_FLOOR)
    torch.testing.assert_close(marginal_factors(precision_sqrt, gamma, observed[2]), found[2], **ROUNDING)


@pytest.mark.parametrize(("components", "features", "factors"), SHAPES)
@pytest.mark.parametrize("block", [module.BLOCK, 1000])
def test_marginal_scores_are_those_of_dense_marginals(
    monkeypatch: pytest.MonkeyPatch, components: int, features: int, factors: int, block: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    logits, loc, precision_sqrt, gamma = mixture(components, features, factors)
    x, observed = normal(8, features, seed=4), masks(8, features)
    found = marginal_scores(x.masked_fill(~observed, torch.nan), observed, logits, loc, precision_sqrt, gamma)
    full = dense_precision(precision_sqrt, gamma).inverse()
    for point, mask, ours in zip(x, observed, found, strict=True):
        for k in range(components):
            expected = logits[k]
            if bool(mask.any()):
                expected = expected + MultivariateNormal(loc[k][mask], full[k][mask][:, mask]).log_prob(point[mask])
            torch.testing.assert_close(ours[k], expected, **NEAR_FLOOR)
    one_mask = marginal_scores(x, observed[2:3], logits, loc, precision_sqrt, gamma)
    every = marginal_scores(x, observed[2].expand(8, -1), logits, loc, precision_sqrt, gamma)
    torch.testing.assert_close(one_mask, every, **ROUNDING)


def test_marginal_scores_of_whole_points_are_scores() -> None:
    given, x = mixture(9, 6, 3, 2), normal(2, 20, 6, seed=4)
    observed = torch.ones(2, 20, 6, dtype=torch.bool)
    torch.testing.assert_close(marginal_scores(x, observed, *given), factor_scores(x, *given), **ROUNDING)


@pytest.mark.parametrize("factors", [1, 4])  # fewer than the masks, and more
@pytest.mark.parametrize("batch", [(), (2,)])
def test_points_that_share_masks_are_scored_as_each_alone(batch: tuple[int, ...], factors: int) -> None:
    given, x = mixture(4, 6, factors, *batch), normal(20, 6, seed=4)
    observed = masks(3, 6)[torch.randint(3, (20,), generator=torch.Generator().manual_seed(5))]
    found = marginal_scores(x, observed, *given)
    each = [marginal_scores(point[None], mask[None], *given) for point, mask in zip(x, observed, strict=True)]
    torch.testing.assert_close(found, torch.cat(each, -2), **ROUNDING)


def test_marginal_scores_of_models_side_by_side_equal_each_alone() -> None:
    given, x, observed = mixture(4, 6, 3, 2), normal(2, 10, 6, seed=4), masks(20, 6).view(2, 10, 6)
    together = marginal_scores(x, observed, *given)
    for r in range(2):
        alone = marginal_scores(x[r], observed[r], *(value[r] for value in given))
        torch.testing.assert_close(together[r], alone, **ROUNDING)


def test_marginal_scores_agree_with_an_integral() -> None:
    logits, loc, precision_sqrt, gamma = mixture(4, 3, 2)
    grid = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    x = torch.tensor([0.3, 0.0, -0.8], dtype=torch.float64).repeat(4001, 1)
    x[:, 1] = grid
    density = factor_scores(x, logits, loc, precision_sqrt, gamma).exp()
    integral = (density.sum(0) * (grid[1] - grid[0])).log()
    found = marginal_scores(x[:1], torch.tensor([[True, False, True]]), logits, loc, precision_sqrt, gamma)
    torch.testing.assert_close(found[0], integral, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("components", "features", "factors"), SHAPES)
def test_conditional_mean_is_that_of_dense_blocks(components: int, features: int, factors: int) -> None:
    _, *given = mixture(components, features, factors)
    x, observed = normal(7, features, seed=4), masks(7, features)
    own = torch.arange(7) % components
    unseen = x.masked_fill(~observed, torch.nan)
    found = conditional_mean(unseen, observed, *(value[own] for value in given))
    for n, k in enumerate(own.tolist()):
        expected, _ = dense_conditional(x[n], observed[n], *(value[k] for value in given))
        torch.testing.assert_close(found[n][~observed[n]], expected, **NEAR_FLOOR)
        torch.testing.assert_close(found[n][observed[n]], x[n][observed[n]], **EXACT)


@pytest.mark.parametrize("observed", [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
def test_conditional_draws_have_the_moments_of_dense_blocks(observed: list[int]) -> None:
    loc, precision_sqrt, gamma = (value[2] for value in mixture(4, 5, 2)[1:])
    x, mask = normal(5, seed=4), torch.tensor(observed, dtype=torch.bool)
    pixel, factor = normal(DRAWS, 5, seed=1), normal(DRAWS, 2, seed=2)
    drawn = conditional_draw(x.masked_fill(~mask, torch.nan), mask, loc, precision_sqrt, gamma, pixel, factor)
    assert torch.equal(drawn[:, mask], x[mask].expand(DRAWS, -1))
    if not bool(mask.all()):
        mean, expected = dense_conditional(x, mask, loc, precision_sqrt, gamma)
        assert_moments(drawn[:, ~mask], mean, expected.reshape(len(mean), len(mean)))


def test_conditional_draws_of_nothing_seen_are_draws() -> None:
    _, loc, precision_sqrt, gamma = mixture(4, 5, 2)
    own, nothing = torch.tensor([3, 0, 0]), torch.zeros(3, 5, dtype=torch.bool)
    pixel, factor = normal(3, 5, seed=1), normal(3, 2, seed=2)
    x = torch.full((3, 5), torch.nan, dtype=torch.float64)
    found = conditional_draw(x, nothing, loc[own], precision_sqrt[own], gamma[own], pixel, factor, 0.3, 0.8)
    expected = draw(loc, precision_sqrt, gamma, own, pixel, factor, 0.3, 0.8)
    torch.testing.assert_close(found, expected, **ROUNDING)
    still = conditional_draw(x, nothing, loc[own], precision_sqrt[own], gamma[own], pixel, factor, 0.0, 0.0)
    torch.testing.assert_close(still, loc[own], **ROUNDING)
