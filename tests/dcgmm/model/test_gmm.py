"""The GMM layer on maps: densities, gradients and steps against oracles that share no code with it."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dcgmm.model import GMM, Folding, GMMOptions, Pooling, Rates, Shape
from dcgmm.model.annealing import ring_distances, smoothing_kernel
from dcgmm.model.options import Start
from tests.conftest import FLOAT32, ROUNDING, normal, uniform
from tests.refusals import option_refused

INPUT = Shape(3, 2, 5)
SIGMAS = pytest.mark.parametrize("sigma", [None, 0.01, 0.3, 1.0, 5.0])


def layer(batch_shape: tuple[int, ...] = (), shape: Shape = INPUT, components: int = 9, seed: int = 0) -> GMM:
    """A layer with parameters that are nowhere special."""
    gmm = GMM(shape, components, batch_shape=batch_shape).double()
    with torch.no_grad():
        gmm.logits.copy_(normal(*gmm.logits.shape, seed=seed))
        gmm.loc.copy_(normal(*gmm.loc.shape, seed=seed + 1))
        gmm.precision_sqrt.copy_(0.3 + uniform(*gmm.precision_sqrt.shape, seed=seed + 2))
    return gmm


def kernel_of(sigma: float | None, components: int = 9) -> Tensor | None:
    if sigma is None:
        return None
    return smoothing_kernel(ring_distances(components), torch.tensor(sigma, dtype=torch.float64))


def mixture(gmm: GMM) -> MixtureSameFamily:
    components = Independent(Normal(gmm.loc, 1 / gmm.precision_sqrt), 1)
    return MixtureSameFamily(Categorical(logits=gmm.logits), components)


@pytest.mark.parametrize("samples", [1, 4])
def test_all_scores_of_a_map_are_those_of_torch_distributions(samples: int) -> None:
    gmm, x = layer(), normal(samples, *INPUT, seed=7)
    oracle = mixture(gmm)
    joint = oracle.component_distribution.log_prob(x.unsqueeze(-2)) + oracle.mixture_distribution.logits
    scored = gmm.score(x)
    for mine, right in [
        (gmm.component_scores(x), joint),
        (gmm.log_prob(x), oracle.log_prob(x)),
        (gmm.max_component_score(x), joint.max(-1).values),
        (gmm.responsibilities(x), (joint - oracle.log_prob(x).unsqueeze(-1)).exp()),
        (gmm(x), gmm.responsibilities(x)),
        (scored.log_prob, oracle.log_prob(x)),
    ]:
        torch.testing.assert_close(mine, right, **ROUNDING)
    assert gmm(x).shape == (samples, *gmm.output_shape) == (samples, 3, 2, 9)


def test_float32_scores_of_a_whole_image_are_right_to_rounding() -> None:
    # The square is expanded: at the largest precision its terms cancel to a small part of themselves.
    gmm = GMM(Shape(1, 1, 784), 25)
    with torch.no_grad():
        gmm.loc.copy_(uniform(25, 784, seed=3))
        x = gmm.loc[:4].detach().view(4, 1, 1, 784).clone() + 0.01
    exact = copy.deepcopy(gmm).double()
    difference = x.double().unsqueeze(-2) - exact.loc
    log_density = (exact.precision_sqrt.log() - 0.5 * (exact.precision_sqrt * difference) ** 2).sum(-1)
    expected = log_density - 392 * math.log(2 * math.pi) - math.log(25)
    torch.testing.assert_close(gmm.component_scores(x).double(), expected, **FLOAT32)


@pytest.mark.parametrize("features", [1, 2])
def test_the_density_of_the_layer_integrates_to_one(features: int) -> None:
    gmm = layer(shape=Shape(1, 1, features), components=4)
    step = 0.05
    axis = torch.arange(-25, 25, step, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(*[axis] * features, indexing="ij"), -1).view(-1, 1, 1, features)
    total = gmm.log_prob(grid).detach().exp().sum()
    assert float(total) * step**features == pytest.approx(1, abs=1e-9)


def test_densities_at_the_limits_of_d_stay_finite() -> None:
    for limit in (GMMOptions().precision_sqrt_min, GMMOptions().precision_sqrt_max):
        gmm = GMM(Shape(1, 1, 784), 25)
        with torch.no_grad():
            gmm.precision_sqrt.fill_(limit)
        for x in (torch.zeros(1, 1, 1, 784), torch.ones(1, 1, 1, 784)):
            assert gmm.log_prob(x).isfinite().all()
            torch.testing.assert_close(gmm(x).sum(), torch.tensor(1.0))


def written_out_objective(gmm: GMM, x: Tensor, kernel: Tensor | None) -> Tensor:
    """mean over samples and positions of max_k sum_j G_kj s_j, a position at a time."""
    weights = torch.eye(gmm.components, dtype=x.dtype) if kernel is None else torch.kron(kernel, kernel)
    log_pi = gmm.logits - gmm.logits.logsumexp(-1)
    best = []
    for point in x.reshape(-1, x.shape[-1]):
        scores = log_pi + Normal(gmm.loc, 1 / gmm.precision_sqrt).log_prob(point).sum(-1)
        best.append(torch.stack([(row * scores).sum() for row in weights]).max())
    return torch.stack(best).mean()


@SIGMAS
@pytest.mark.parametrize("features", [3, 30])  # both ways to sum over the winners
@pytest.mark.parametrize("samples", [1, 5])
def test_objective_and_gradient_are_autograds(sigma: float | None, features: int, samples: int) -> None:
    shape = Shape(2, 3, features)
    gmm, x, kernel = layer(shape=shape), normal(samples, *shape, seed=7), kernel_of(sigma)
    objective = written_out_objective(gmm, x, kernel)
    expected = torch.autograd.grad(objective, [gmm.logits, gmm.loc, gmm.precision_sqrt])
    value, gradient = gmm.objective(gmm.score(x), kernel)
    torch.testing.assert_close(value, objective.detach(), **ROUNDING)
    for closed, automatic in zip(gradient[:3], expected, strict=True):
        torch.testing.assert_close(closed, automatic, **ROUNDING)
    assert not value.requires_grad


def test_any_kernel_whose_rows_sum_to_one_will_do() -> None:
    # The kernel of the torus is symmetric, and would not tell rows from columns.
    gmm, x, kernel = layer(), normal(4, *INPUT, seed=7), normal(3, 3, seed=8).softmax(-1)
    objective = written_out_objective(gmm, x, kernel)
    expected = torch.autograd.grad(objective, [gmm.logits, gmm.loc, gmm.precision_sqrt])
    value, gradient = gmm.objective(gmm.score(x), kernel)
    torch.testing.assert_close(value, objective.detach(), **ROUNDING)
    for closed, automatic in zip(gradient[:3], expected, strict=True):
        torch.testing.assert_close(closed, automatic, **ROUNDING)


def test_gradient_by_hand() -> None:
    # One component, one feature, points 1 and 3 with mu = 1, d = 2: mean of (x - mu) is 1, of (x - mu)^2 is 2.
    gmm = GMM(Shape(1, 2, 1), 1).double()
    with torch.no_grad():
        gmm.loc.fill_(1.0)
        gmm.precision_sqrt.fill_(2.0)
    x = torch.tensor([1.0, 3.0], dtype=torch.float64).view(1, 1, 2, 1)
    value, gradient = gmm.objective(gmm.score(x), None)
    assert float(value) == pytest.approx(math.log(2) - 0.5 * 4 * 2 - 0.5 * math.log(2 * math.pi))
    assert float(gradient.loc) == pytest.approx(4 * 1)
    assert float(gradient.precision_sqrt) == pytest.approx(1 / 2 - 2 * 2)
    assert float(gradient.logits) == pytest.approx(0)


def test_a_step_adds_rate_times_gradient() -> None:
    gmm, x = layer(), normal(6, *INPUT, seed=7)
    before = {name: value.detach().clone() for name, value in gmm.named_parameters()}
    expected = torch.autograd.grad(written_out_objective(gmm, x, None), [*gmm.parameters()])
    _, gradient = gmm.objective(gmm.score(x), None)
    rates = Rates(*torch.tensor([0.1, 0.02, 0.003, 0], dtype=torch.float64))
    gmm.ascend(gradient, rates)
    for (name, value), rate, slope in zip(before.items(), rates[:3], expected, strict=True):
        torch.testing.assert_close(getattr(gmm, name).detach(), value + rate * slope, **ROUNDING)


@pytest.mark.parametrize("features", [3, 30])
@SIGMAS
def test_models_side_by_side_step_as_each_alone(sigma: float | None, features: int) -> None:
    shape, models = Shape(2, 3, features), 3
    together, x = layer((models,), shape), normal(models, 4, *shape, seed=9)
    alone = []
    for number in range(models):
        gmm = layer(shape=shape)
        gmm.load_state_dict({name: value[number] for name, value in together.state_dict().items()})
        alone.append(gmm)
    kernel = kernel_of(sigma)
    rates = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    scored = together.score(x)
    value, gradient = together.objective(scored, None if kernel is None else kernel.expand(models, -1, -1))
    together.ascend(gradient, Rates(rates, 2 * rates, 3 * rates, rates))
    for number, gmm in enumerate(alone):
        torch.testing.assert_close(scored.log_prob[number], gmm.log_prob(x[number]), **ROUNDING)
        value_alone, gradient_alone = gmm.objective(gmm.score(x[number]), kernel)
        torch.testing.assert_close(value[number], value_alone, **ROUNDING)
        rate = rates[number]
        gmm.ascend(gradient_alone, Rates(rate, 2 * rate, 3 * rate, rate))
        for name, parameter in together.state_dict().items():
            torch.testing.assert_close(parameter[number], gmm.state_dict()[name], **ROUNDING)


def test_models_side_by_side_share_images_that_are_given_once() -> None:
    together, x = layer((3,)), normal(4, *INPUT, seed=9)
    given_once, given_thrice = together.score(x), together.score(x.expand(3, *x.shape))
    torch.testing.assert_close(given_once.component_scores, given_thrice.component_scores, **ROUNDING)
    for one, other in zip(
        together.objective(given_once, None)[1], together.objective(given_thrice, None)[1], strict=True
    ):
        torch.testing.assert_close(one, other, **ROUNDING)


def test_start_is_the_same_for_every_number_type_and_one_seed() -> None:
    single, double = GMM(INPUT, 9), GMM(INPUT, 9).double()
    for gmm in (single, double):
        gmm.draw_start(torch.Generator().manual_seed(3))
    torch.testing.assert_close(single.loc, double.loc.float(), rtol=0, atol=0)
    other = GMM(INPUT, 9)
    other.draw_start(torch.Generator().manual_seed(4))
    assert not torch.equal(single.loc, other.loc)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("start", Start)
def test_start_forgets_what_was_learnt(start: Start, dtype: torch.dtype) -> None:
    fresh = GMM(INPUT, 9, GMMOptions(precision_sqrt_start=start), batch_shape=(2,)).to(dtype)
    used = copy.deepcopy(fresh)
    with torch.no_grad():
        for value in used.parameters():
            value.add_(1)
    for gmm in (fresh, used):
        gmm.draw_start(torch.Generator().manual_seed(3))
    for name, value in fresh.state_dict().items():
        assert torch.equal(used.state_dict()[name], value)


def test_start_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    GMM(INPUT, 9).draw_start(torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_downward_draws_from_the_chosen_components() -> None:
    gmm = layer(shape=Shape(1, 1, 2), components=4)
    count = 40_000
    chosen = torch.full((count, 1, 1), 2)
    with torch.no_grad():
        drawn = gmm.downward(chosen, normal(count, 1, 1, 2), std_scale=0.5).view(count, 2)
        mean, std = gmm.loc[2], 0.5 / gmm.precision_sqrt[2]
    assert ((drawn.mean(0) - mean).abs() < 5 * std / math.sqrt(count)).all()
    torch.testing.assert_close(drawn.std(0), std, rtol=0.02, atol=0)


def test_layers_are_modules_to_be_used_by_hand() -> None:
    folding = Folding(Shape(6, 5, 2), (3, 2), (1, 1))
    gmm = layer(shape=folding.output_shape, components=4)
    pooling = Pooling(gmm.output_shape, (2, 2))
    stack = nn.Sequential(folding, gmm, pooling)
    x = normal(3, 6, 5, 2)
    unfolded = nn.functional.unfold(x.movedim(-1, 1), (3, 2)).mT.reshape(3, 4, 4, 2, 6).movedim(-2, -1).flatten(-2)
    oracle = mixture(gmm)
    joint = oracle.component_distribution.log_prob(unfolded.unsqueeze(-2)) + oracle.mixture_distribution.logits
    pooled = nn.functional.max_pool2d(joint.softmax(-1).movedim(-1, 1), 2).movedim(1, -1)
    torch.testing.assert_close(stack(x), pooled, **ROUNDING)
    assert [name for name, _ in stack.named_parameters()] == ["1.logits", "1.loc", "1.precision_sqrt"]
    # Gradients reach every parameter and the input, for whoever trains it in another way.
    x.requires_grad_()
    gmm.log_prob(folding(x)).sum().backward()
    for value in (x, *stack.parameters()):
        assert value.grad is not None
        assert value.grad.abs().max() > 0


@pytest.mark.parametrize(("components", "squares"), [(0, [1]), (-9, [1]), (2, [1, 4]), (24, [16, 25]), (50, [49, 64])])
def test_components_that_are_no_square_grid(components: int, squares: list[int]) -> None:
    with option_refused("components", components, *squares):
        GMM(INPUT, components)
