"""The GMM layer with factors: against dense Gaussians, autograd, and the layer without them."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from dcgmm.errors import OptionError
from dcgmm.model import DCGMM, GMM, GMMOptions, LayerOptions, LayerType, Rates, Shape
from dcgmm.model.annealing import ring_distances, smoothing_kernel
from dcgmm.model.conditionals import covariance
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.factors import capacitance, start_factors
from tests.conftest import EXACT, ROUNDING, Tolerance, normal, uniform
from tests.dcgmm.small import give_factors
from tests.refusals import option_refused, refused

INPUT = Shape(3, 2, 5)
NEAR_FLOOR = Tolerance(rtol=1e-8, atol=1e-8)  # float64, with eigenvalues of M at the floor
GIVEN = torch.tensor([0.01, 0.002, 0.003, 0.004], dtype=torch.float64)


def layer(batch_shape: tuple[int, ...] = (), shape: Shape = INPUT, factors: int = 2, seed: int = 0) -> FactorGMM:
    """A layer with parameters that are nowhere special, and no factors yet."""
    gmm = FactorGMM(shape, 9, factors, batch_shape=batch_shape).double()
    with torch.no_grad():
        gmm.logits.copy_(normal(*gmm.logits.shape, seed=seed))
        gmm.loc.copy_(normal(*gmm.loc.shape, seed=seed + 1))
        gmm.precision_sqrt.copy_(0.5 + uniform(*gmm.precision_sqrt.shape, seed=seed + 2))
    return gmm


def diagonal_twin(gmm: FactorGMM) -> GMM:
    twin = GMM(gmm.input_shape, gmm.components, batch_shape=tuple(gmm.logits.shape[:-1])).to(gmm.loc)
    twin.load_state_dict({name: value for name, value in gmm.state_dict().items() if name != "factors"})
    return twin


def dense(gmm: FactorGMM) -> MixtureSameFamily:
    precision = torch.diag_embed(gmm.precision_sqrt**2) - gmm.factors @ gmm.factors.mT
    return MixtureSameFamily(Categorical(logits=gmm.logits), MultivariateNormal(gmm.loc, precision_matrix=precision))


def joint(gmm: FactorGMM, x: Tensor) -> Tensor:
    oracle = dense(gmm)
    scores: Tensor = oracle.component_distribution.log_prob(x.unsqueeze(-2)) + oracle.mixture_distribution.logits
    return scores


def knows_factors(gmm: GMM) -> bool:
    assert isinstance(gmm, FactorGMM)
    return gmm.has_factors


def rates(gmm: GMM, given: Tensor = GIVEN) -> Rates:
    return Rates(*(value.to(gmm.loc).expand(gmm.logits.shape[:-1]) for value in given))


@pytest.mark.parametrize("factors", [1, 2, 4])
@pytest.mark.parametrize("samples", [1, 4])
def test_all_scores_of_a_map_are_those_of_dense_gaussians(samples: int, factors: int) -> None:
    gmm, x = give_factors(layer(factors=factors)), normal(samples, *INPUT, seed=7)
    log_prob, scored = dense(gmm).log_prob(x), gmm.score(x)
    for mine, right in [
        (gmm.component_scores(x), joint(gmm, x)),
        (gmm.log_prob(x), log_prob),
        (gmm.max_component_score(x), joint(gmm, x).amax(-1)),
        (gmm.responsibilities(x), joint(gmm, x).softmax(-1)),
        (scored.log_prob, log_prob),
    ]:
        torch.testing.assert_close(mine, right, **NEAR_FLOOR)
    assert gmm(x).shape == (samples, *gmm.output_shape)


def test_covariance_is_that_of_loadings_and_diagonal() -> None:
    gmm = give_factors(layer((2,)))
    expected = covariance(gmm.precision_sqrt, gmm.factors)
    variance = gmm.precision_sqrt.pow(-2)
    torch.testing.assert_close(gmm.loadings @ gmm.loadings.mT + variance.diag_embed(), expected, **NEAR_FLOOR)
    torch.testing.assert_close(gmm.variance, expected.diagonal(dim1=-2, dim2=-1), **NEAR_FLOOR)
    torch.testing.assert_close(layer().variance, layer().precision_sqrt.pow(-2), **EXACT)


@pytest.mark.parametrize("passes_on", [True, False])
def test_a_step_is_rate_times_autograds_gradient_and_the_projection(passes_on: bool) -> None:
    gmm, x = give_factors(layer()), normal(40, *INPUT, seed=7)
    before = {name: value.detach().clone() for name, value in gmm.named_parameters()}
    expected = gmm.responsibilities(x).detach()
    objective = joint(gmm, x).amax(-1).mean()
    slopes = dict(zip(before, torch.autograd.grad(objective, list(gmm.parameters())), strict=True))
    plain, gradient = gmm.objective(gmm.score(x), None)
    value, responsibilities = gmm.step(x, None, rates(gmm), passes_on=passes_on)
    torch.testing.assert_close(value, objective.detach(), **NEAR_FLOOR)
    torch.testing.assert_close(plain, value, **EXACT)
    assert (responsibilities is not None) == passes_on
    if responsibilities is not None:
        torch.testing.assert_close(responsibilities, expected, **ROUNDING)
    for rate, name in zip(GIVEN, ("logits", "loc", "precision_sqrt"), strict=False):
        torch.testing.assert_close(getattr(gradient, name), slopes[name], **NEAR_FLOOR)
        torch.testing.assert_close(getattr(gmm, name).detach(), before[name] + rate * slopes[name], **NEAR_FLOOR)
    # The projection rotates, and shrinks what lies under the floor: written out by eigenvectors of M.
    stepped = before["factors"] + GIVEN[3] * slopes["factors"]
    weights, basis = torch.linalg.eigh(capacitance(gmm.precision_sqrt.detach(), stepped))
    assert weights.min() < gmm.options.factor_floor
    shrunk = (stepped @ basis) * ((1 - weights.clamp(min=gmm.options.factor_floor)) / (1 - weights)).sqrt()[:, None]
    found = gmm.factors.detach()
    torch.testing.assert_close(found @ found.mT, shrunk @ shrunk.mT, **NEAR_FLOOR)
    left = torch.linalg.eigvalsh(capacitance(gmm.precision_sqrt.detach(), found))
    assert left.min() >= gmm.options.factor_floor * (1 - 1e-9)


def test_held_points_go_to_the_winner_of_the_diagonal_part() -> None:
    gmm, x = give_factors(layer((2,))), normal(2, 30, *INPUT, seed=7)
    free, held = copy.deepcopy(gmm), gmm
    held.held = torch.tensor([True, False])
    winner = diagonal_twin(gmm).component_scores(x).argmax(-1)
    assert not torch.equal(winner, gmm.component_scores(x).argmax(-1))
    own = held.component_scores(x).gather(-1, winner.unsqueeze(-1)).mean((1, 2, 3, 4))
    value, _ = held.step(x, None, rates(gmm), passes_on=False)
    other, _ = free.step(x, None, rates(gmm), passes_on=False)
    torch.testing.assert_close(value[0], own[0].detach(), **ROUNDING)
    assert value[0] < other[0]
    torch.testing.assert_close(value[1], other[1], **ROUNDING)
    torch.testing.assert_close(held.factors[1], free.factors[1], **ROUNDING)
    share = torch.bincount(winner[0].flatten(), minlength=9).double() / winner[0].numel()
    slope = share - layer((2,)).log_weights[0].exp()
    torch.testing.assert_close(held.logits[0], layer((2,)).logits[0] + GIVEN[0] * slope, **ROUNDING)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_a_model_that_still_anneals_is_not_touched_by_the_factors_of_others(sigma: float) -> None:
    # Rates so large that the way of centroids is limited.
    together, x = give_factors(layer((2,))), normal(2, 30, *INPUT, seed=7)
    with torch.no_grad():
        together.factors[0] = 0
    together.held = torch.tensor([False, True])
    large = torch.tensor([0.1, 50.0, 0.01, 0.1], dtype=torch.float64)
    first, second = (layer((2,)) for _ in range(2))
    alone, annealed = layer(), layer()
    for number, one, source in ((0, alone, first), (1, annealed, together)):
        one.load_state_dict({name: value[number] for name, value in source.state_dict().items()})
    annealed.held = torch.tensor(True)
    side = smoothing_kernel(ring_distances(9), torch.tensor(sigma, dtype=torch.float64))
    kernel = torch.stack([side, torch.eye(3, dtype=torch.float64)])
    values, _ = together.step(x, kernel, rates(second, large), passes_on=False)
    for number, (one, own) in enumerate(((alone, side), (annealed, None))):
        value, _ = one.step(x[number], own, rates(one, large), passes_on=False)
        torch.testing.assert_close(values[number], value, **ROUNDING)
        for name, parameter in one.state_dict().items():
            torch.testing.assert_close(together.state_dict()[name][number], parameter, **ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_factors_yet_it_is_the_diagonal_layer_bit_for_bit(dtype: torch.dtype) -> None:
    gmm, x = layer().to(dtype), normal(20, *INPUT, seed=7).to(dtype)
    twin = diagonal_twin(gmm)
    assert not gmm.has_factors
    assert torch.equal(gmm.component_scores(x), twin.component_scores(x))
    chosen, noise = torch.randint(9, (20, 3, 2)), normal(20, *INPUT).to(dtype)
    assert torch.equal(
        gmm.downward(chosen, noise, 0.3, normal(20, 3, 2, 2).to(dtype)), twin.downward(chosen, noise, 0.3)
    )
    for kernel in (None, smoothing_kernel(ring_distances(9), torch.tensor(1.0, dtype=dtype))):
        mine, theirs = (each.step(x, kernel, rates(twin), passes_on=True) for each in (gmm, twin))
        for one, other in zip(mine, theirs, strict=True):
            assert one is not None
            assert other is not None
            assert torch.equal(one, other)
        for name, value in twin.state_dict().items():
            assert torch.equal(gmm.state_dict()[name], value)
    assert not gmm.factors.any()


def test_begin_gives_start_values_to_those_that_are_wanted_and_have_none() -> None:
    gmm = layer((2, 2), factors=3)
    with torch.no_grad():
        gmm.factors[1, 0] = 0.125
    before = gmm.factors.detach().clone()
    gmm.begin_factors(torch.tensor([[True, False], [True, True]]), [3, 4, 5, 6])
    assert gmm.has_factors
    for place in ((0, 1), (1, 0)):
        assert torch.equal(gmm.factors[place], before[place])
    for place, seed in (((0, 0), 3), ((1, 1), 6)):
        drawn = start_factors(9, 5, 3, torch.Generator().manual_seed(seed)).double()
        found = gmm.factors[place].detach()
        alone = FactorGMM(INPUT, 9, 3).double()
        with torch.no_grad():
            alone.precision_sqrt.copy_(gmm.precision_sqrt[place])
        alone.begin_factors(torch.tensor(True), [seed])
        torch.testing.assert_close(found, alone.factors.detach(), **ROUNDING)
        eigenvalues = torch.linalg.eigvalsh(capacitance(gmm.precision_sqrt[place].detach(), found))
        assert eigenvalues.min() > 0.02 - 1e-9
        small = torch.linalg.eigvalsh(capacitance(gmm.precision_sqrt[place].detach(), drawn)).amin(-1) > 0.02
        torch.testing.assert_close((found @ found.mT)[small], (drawn @ drawn.mT)[small], **ROUNDING)


def test_none_that_is_wanted_leaves_it_without_factors() -> None:
    gmm = layer((2,))
    gmm.begin_factors(torch.tensor([False, False]), [1, 2])
    assert not gmm.has_factors
    assert not gmm.factors.any()


def test_a_state_dict_brings_factors_along_and_takes_them_away() -> None:
    gmm, other, x = give_factors(layer()), FactorGMM(INPUT, 9, 2).double(), normal(3, *INPUT)
    other.held = torch.tensor(True)
    other.load_state_dict(gmm.state_dict())
    assert knows_factors(other)
    assert vars(other)["held"] is None
    torch.testing.assert_close(other(x), gmm(x), **ROUNDING)
    other.load_state_dict(layer().state_dict())
    assert not knows_factors(other)
    assert torch.equal(other(x), layer()(x))
    # A model's hook reaches its layers.
    model, again = (DCGMM([each.double()]) for each in (gmm, FactorGMM(INPUT, 9, 2)))
    again.load_state_dict(model.state_dict())
    assert knows_factors(again.gmms["gmm1"])
    kept = copy.deepcopy(model)
    assert knows_factors(kept.gmms["gmm1"])
    assert torch.equal(kept(x), model(x))
    kept.load_state_dict(DCGMM([layer()]).state_dict())
    assert not knows_factors(kept.gmms["gmm1"])
    assert knows_factors(model.gmms["gmm1"])


@pytest.mark.parametrize("which", [(True, False), (False, True), (True, True), (False, False)])
def test_models_side_by_side_and_alone_know_their_own_factors(which: tuple[bool, bool]) -> None:
    models = [DCGMM([give_factors(layer(seed=n), n) if has else layer(seed=n)]) for n, has in enumerate(which)]
    models[0].gmms["gmm1"].held = torch.tensor(True)
    together = DCGMM.side_by_side(models)
    gmm = together.gmms["gmm1"]
    assert isinstance(gmm, FactorGMM)
    assert gmm.has_factors == any(which)
    assert gmm.held is None
    x = normal(2, 4, *INPUT)
    scores = together.score(x)["gmm1"].component_scores
    for number, (model, alone, has) in enumerate(zip(models, together.alone(), which, strict=True)):
        single = alone.gmms["gmm1"]
        assert isinstance(single, FactorGMM)
        assert (single.has_factors, single.held) == (has, None)
        torch.testing.assert_close(scores[number], model.score_floats(x[number])["gmm1"].component_scores, **ROUNDING)
        torch.testing.assert_close(alone(x[number]), model(x[number]), **ROUNDING)


def test_points_given_once_are_scored_by_all_models_side_by_side() -> None:
    together, x = give_factors(layer((3,))), normal(4, *INPUT, seed=9)
    torch.testing.assert_close(together(x), together(x.expand(3, *x.shape)), **ROUNDING)


def test_results_do_not_depend_on_where_factors_lie_in_memory() -> None:
    rows = give_factors(layer())
    assert rows.factors.movedim(-1, -3).is_contiguous()
    columns = copy.deepcopy(rows)
    columns.factors = torch.nn.Parameter(rows.factors.detach().contiguous())
    assert not columns.factors.movedim(-1, -3).is_contiguous()
    x = normal(12, *INPUT, seed=7)
    torch.testing.assert_close(columns(x), rows(x), **ROUNDING)
    for gmm in (rows, columns):
        gmm.step(x, None, rates(gmm), passes_on=False)
    for name, value in rows.state_dict().items():
        torch.testing.assert_close(columns.state_dict()[name], value, **ROUNDING)


def test_start_takes_factors_away() -> None:
    gmm, fresh = give_factors(layer()), FactorGMM(INPUT, 9, 2).double()
    for each in (gmm, fresh):
        each.draw_start(torch.Generator().manual_seed(3))
    assert not gmm.has_factors
    for name, value in fresh.state_dict().items():
        assert torch.equal(gmm.state_dict()[name], value)


@pytest.mark.parametrize("factors", [0, -1, 5, 6])
def test_factors_that_cannot_be(factors: int) -> None:
    with pytest.raises(OptionError) as error:
        FactorGMM(INPUT, 9, factors)
    assert (error.value.field, error.value.value) == ("factors", factors)
    assert "5 features" in error.value.rule
    with option_refused("factors", 1, 0, 1):
        FactorGMM(Shape(3, 2, 1), 9, 1)
    with option_refused("components", 8, 4, 9):
        FactorGMM(INPUT, 8, 2)


def test_notation_and_what_is_built_of_it() -> None:
    def built(factors: int | None) -> GMM:
        gmm: dict[str, Any] = {"type": "gmm", "components": 4, "factors": factors}
        return DCGMM.build((4, 4, 1), [{"type": "folding", "kernel": [4, 4]}, gmm]).gmms["gmm1"]

    for factors, kind, text in ((None, GMM, "G(4)"), (0, GMM, "G(4)"), (3, FactorGMM, "G(4,3)")):
        gmm = built(factors)
        assert type(gmm) is kind
        assert str(gmm.description) == str(LayerOptions(LayerType.gmm, components=4, factors=factors)) == text
    assert "4, 3 factors" in repr(built(3))
    with option_refused("factors", -1, 0):
        LayerOptions(LayerType.gmm, components=4, factors=-1)
    with refused("layer 2", "G(4,16):", "factors", 1, 15, 16):
        built(16)
    with refused("factors", "pooling", "kernel", "stride"):
        LayerOptions(LayerType.pooling, kernel=[2, 2], factors=3)


def test_a_floor_that_is_given_is_kept() -> None:
    gmm = FactorGMM(INPUT, 9, 4, GMMOptions(factor_floor=0.5)).double()
    with torch.no_grad():
        gmm.precision_sqrt.fill_(0.5)
    gmm.begin_factors(torch.tensor(True), [0])
    assert torch.linalg.eigvalsh(capacitance(gmm.precision_sqrt, gmm.factors)).min() >= 0.5 - 1e-9
