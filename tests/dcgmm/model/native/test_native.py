"""The compiled passes against the tensors that they stand for, in float64."""

import copy

import pytest
import torch

from dcgmm.model import GMM, Rates, Shape, native
from tests.conftest import normal
from tests.dcgmm.model.native.samples import (
    CASES,
    LIKE_FLOAT64,
    NEEDS_COMPILER,
    Case,
    assert_like,
    cases,
    in_float64,
    kernel_of,
    layers,
    rates,
)


@NEEDS_COMPILER
@cases
@pytest.mark.parametrize("sigma", [None, 0.4, 3.0])
def test_a_step_is_that_of_tensors(case: Case, sigma: float | None, threads: int) -> None:
    folding, gmm, x = layers(case)
    kernel = kernel_of(case[4], sigma)
    exact, value, passed = in_float64(folding, gmm, x, kernel, rates())
    before = copy.deepcopy(gmm)
    with torch.no_grad():
        assert native.takes(x, *gmm.parameters())
    objective, responsibilities = gmm.step(folding.patches(x), kernel, rates(), passes_on=True)
    assert responsibilities is not None
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    torch.testing.assert_close(responsibilities.double(), passed, **LIKE_FLOAT64)
    assert_like(gmm, exact)
    # Not wanted, responsibilities change nothing else.
    objective_again, nothing = before.step(folding.patches(x), kernel, rates(), passes_on=False)
    assert nothing is None
    assert torch.equal(objective_again, objective)
    for name, parameter in gmm.named_parameters():
        assert torch.equal(parameter, before.get_parameter(name))


@NEEDS_COMPILER
def test_any_kernel_whose_rows_sum_to_one_will_do(threads: int) -> None:
    # The kernel of the torus is symmetric, and would not tell rows from columns.
    case: Case = (6, (7, 6, 3), (3, 2), (1, 1), 25)
    folding, gmm, x = layers(case)
    kernel = normal(5, 5, seed=8).softmax(-1).float()
    exact, value, _ = in_float64(folding, gmm, x, kernel, rates())
    objective, _ = gmm.step(folding.patches(x), kernel, rates(), passes_on=False)
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    assert_like(gmm, exact)


@NEEDS_COMPILER
@cases
def test_scores_are_those_of_tensors(case: Case, threads: int) -> None:
    folding, gmm, x = layers(case)
    expected = copy.deepcopy(gmm).double().score(folding.patches(x.double())).component_scores
    with torch.no_grad():
        scores = gmm.score(folding.patches(x)).component_scores
        view = x.movedim(-1, 1).contiguous().movedim(1, -1)  # other strides
        assert torch.equal(gmm.score(folding.patches(view)).component_scores, scores)
        scored = gmm.score(folding.patches(x))
        summaries = (scored.log_prob, scored.max_component_score, scored.responsibilities)
    torch.testing.assert_close(scores.double(), expected.detach(), **LIKE_FLOAT64)
    exact = (expected.logsumexp(-1), expected.amax(-1), expected.softmax(-1))
    for summary, right in zip(summaries, exact, strict=True):
        torch.testing.assert_close(summary.double(), right.detach(), **LIKE_FLOAT64)


@NEEDS_COMPILER
@cases
def test_gradients_of_scores_are_those_of_tensors(case: Case, threads: int) -> None:
    folding, gmm, x = layers(case)
    weights = normal(case[0], *gmm.output_shape, seed=9)
    linear, precision = gmm.loc.detach(), gmm.precision_sqrt.detach()
    expected = folding.patches(x.double()).pull(weights, linear.double(), precision.double())
    with torch.no_grad():
        gradient = folding.patches(x).pull(weights.float(), linear, precision)
    torch.testing.assert_close(gradient.double(), expected, **LIKE_FLOAT64)


@NEEDS_COMPILER
@pytest.mark.parametrize("sigma", [None, 1.0])
def test_models_side_by_side_step_as_each_alone(sigma: float | None) -> None:
    case: Case = (4, (6, 5, 3), (3, 2), (1, 1), 9)
    folding, together, x = layers(case, (3,))
    kernel, speed = kernel_of(9, sigma), rates((3,))
    alone = []
    for number in range(3):
        gmm = GMM(folding.output_shape, 9)
        gmm.load_state_dict({name: value[number] for name, value in together.state_dict().items()})
        alone.append(gmm)
    each_kernel = None if kernel is None else kernel.expand(3, -1, -1)
    value, passed = together.step(folding.patches(x), each_kernel, speed, passes_on=True)
    assert passed is not None
    for number, gmm in enumerate(alone):
        own = Rates(*(rate[number] for rate in speed))
        value_alone, passed_alone = gmm.step(folding.patches(x[number]), kernel, own, passes_on=True)
        assert passed_alone is not None
        assert torch.equal(value[number], value_alone)
        assert torch.equal(passed[number], passed_alone)
        for name, parameter in gmm.named_parameters():
            assert torch.equal(together.get_parameter(name)[number], parameter)


@NEEDS_COMPILER
def test_responsibilities_of_far_components_are_zero_and_never_denormal() -> None:
    gmm = GMM(Shape(1, 1, 1), 16)
    with torch.no_grad():
        gmm.loc.copy_(torch.linspace(0, 5, 16)[:, None])
    _, passed = gmm.step(torch.zeros(1, 1, 1, 1), None, Rates(*torch.zeros(4)), passes_on=True)
    assert passed is not None
    expected = (-10 * torch.linspace(0, 5, 16, dtype=torch.float64).square()).softmax(0).float()
    expected[expected < torch.finfo(torch.float32).tiny] = 0
    torch.testing.assert_close(passed.flatten(), expected, rtol=1e-4, atol=0)


def test_what_wants_gradients_or_float64_is_left_to_tensors() -> None:
    _, gmm, x = layers(CASES[0])
    assert not native.takes(x, *gmm.parameters())
    with torch.no_grad():
        assert not native.takes(x.double(), *gmm.parameters())
