import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dcgmm.model.annealing import ring_distances, smoothing_kernel
from dcgmm.model.gaussian import natural_parameters, objective_gradient, smoothed_winner

K, P = 9, 40


def parameters(features: int, *batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*batch, K, generator=generator, dtype=torch.float64)
    loc = torch.randn(*batch, K, features, generator=generator, dtype=torch.float64)
    precision_sqrt = 0.3 + torch.rand(*batch, K, features, generator=generator, dtype=torch.float64)
    return logits, loc, precision_sqrt


def points(features: int, *batch: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*batch, P, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def component_scores(
    x: torch.Tensor, log_weights: torch.Tensor, loc: torch.Tensor, precision_sqrt: torch.Tensor
) -> torch.Tensor:
    linear, precision, constant = natural_parameters(log_weights, loc, precision_sqrt)
    return x @ linear.mT - 0.5 * x.square() @ precision.mT + constant.unsqueeze(-2)


def means(x: torch.Tensor, winner: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    one_hot = torch.nn.functional.one_hot(winner, K).to(x.dtype) / winner.shape[-1]
    return one_hot.sum(-2), one_hot.mT @ x, one_hot.mT @ x.square()


@pytest.mark.parametrize("features", [1, 3, 50])
def test_scores_and_log_likelihood_are_those_of_torch_distributions(features: int) -> None:
    logits, loc, precision_sqrt = parameters(features)
    x = points(features)
    scores = component_scores(x, logits.log_softmax(-1), loc, precision_sqrt)
    components = Independent(Normal(loc, 1 / precision_sqrt), 1)
    joint = components.log_prob(x[:, None]) + logits.log_softmax(-1)
    torch.testing.assert_close(scores, joint, rtol=1e-12, atol=1e-10)
    mixture = MixtureSameFamily(Categorical(logits=logits), components)
    torch.testing.assert_close(scores.logsumexp(-1), mixture.log_prob(x), rtol=1e-12, atol=1e-10)


def test_density_integrates_to_one() -> None:
    grid = torch.linspace(-25, 25, 1001, dtype=torch.float64)
    step = float(grid[1] - grid[0])
    for features in (1, 2):
        logits, loc, precision_sqrt = parameters(features)
        x = torch.cartesian_prod(*[grid] * features).reshape(-1, features)
        scores = component_scores(x, logits.log_softmax(-1), loc, precision_sqrt)
        assert float(scores.logsumexp(-1).exp().sum()) * step**features == pytest.approx(1, abs=1e-6)


def written_out_objective(
    x: torch.Tensor, logits: torch.Tensor, loc: torch.Tensor, precision_sqrt: torch.Tensor, kernel: torch.Tensor
) -> torch.Tensor:
    """mean_n max_k sum_j G_kj [log pi_j + sum_f (log d_jf - d_jf^2 (x_nf - mu_jf)^2 / 2) - D/2 log 2 pi]."""
    deviation = x[:, None] - loc
    log_density = (precision_sqrt.log() - 0.5 * precision_sqrt**2 * deviation**2).sum(-1)
    scores = logits.log_softmax(-1) + log_density - 0.5 * x.shape[-1] * math.log(2 * math.pi)
    return (scores[:, None] * kernel).sum(-1).max(-1).values.mean()


@pytest.mark.parametrize("features", [3, 20])
@pytest.mark.parametrize("sigma", [None, 0.01, 0.5, 1.5])
def test_closed_gradient_is_autograds(features: int, sigma: float | None) -> None:
    logits, loc, precision_sqrt = (value.requires_grad_() for value in parameters(features))
    x = points(features)
    kernel = None if sigma is None else smoothing_kernel(ring_distances(K), torch.tensor(sigma, dtype=torch.float64))
    objective = written_out_objective(
        x,
        logits,
        loc,
        precision_sqrt,
        torch.eye(K, dtype=torch.float64) if kernel is None else torch.kron(kernel, kernel),
    )
    expected = torch.autograd.grad(objective, (logits, loc, precision_sqrt))

    with torch.no_grad():
        log_weights = logits.log_softmax(-1)
        scores = component_scores(x, log_weights, loc, precision_sqrt)
        value, winner = smoothed_winner(scores, kernel)
        gradient = objective_gradient(means(x, winner), kernel, log_weights, loc, precision_sqrt, precision_sqrt**2)
    torch.testing.assert_close(value.mean(), objective.detach())
    for closed, automatic in zip(gradient[:3], expected, strict=True):
        torch.testing.assert_close(closed, automatic, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradient.share, gradient.logits + log_weights.exp())


def test_models_side_by_side_equal_each_alone() -> None:
    logits, loc, precision_sqrt = parameters(5, 3)
    log_weights = logits.log_softmax(-1)
    x = points(5, 3)
    kernel = smoothing_kernel(ring_distances(K), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    scores = component_scores(x, log_weights, loc, precision_sqrt)
    value, winner = smoothed_winner(scores, kernel)
    gradient = objective_gradient(means(x, winner), kernel, log_weights, loc, precision_sqrt, precision_sqrt**2)
    for r in range(3):
        alone = component_scores(x[r], log_weights[r], loc[r], precision_sqrt[r])
        torch.testing.assert_close(scores[r], alone)
        value_alone, winner_alone = smoothed_winner(alone, kernel[r])
        assert torch.equal(winner[r], winner_alone)
        torch.testing.assert_close(value[r], value_alone)
        given = (log_weights[r], loc[r], precision_sqrt[r], precision_sqrt[r] ** 2)
        single = objective_gradient(means(x[r], winner_alone), kernel[r], *given)
        for together, one in zip(gradient, single, strict=True):
            torch.testing.assert_close(together[r], one)
