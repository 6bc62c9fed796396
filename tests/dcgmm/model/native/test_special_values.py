"""Compiled passes and tensors agree on what is no ordinary number, and on nothing at all: one law over all passes."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from dcgmm.model import GMM, Folding, Rates, Shape, native
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.gaussian import smoothed, smoothed_winner
from tests.conftest import Tolerance, normal, uniform
from tests.dcgmm.model.native.samples import NEEDS_COMPILER, Case, in_float64, kernel_of, layers, rates
from tests.dcgmm.small import give_factors

pytestmark = NEEDS_COMPILER
CLOSE = Tolerance(rtol=1e-3, atol=1e-4)
nan, inf = torch.nan, torch.inf

# a vector's padding and none; sides that are unrolled and not; overlapping patches and the whole map
CASES: list[Case] = [
    (3, (6, 5, 1), (3, 3), (1, 1), 25),
    (4, (4, 5, 2), (4, 5), (1, 1), 16),
    (3, (5, 7, 1), (2, 3), (1, 2), 100),
    (2, (3, 3, 1), (2, 2), (1, 1), 1),
]
Results = Mapping[str, Tensor]
Pass = Callable[[Folding, GMM, Tensor], Results]


def scoring(folding: Folding, gmm: GMM, x: Tensor) -> Results:
    with torch.no_grad():
        scored = gmm.score(folding.patches(x))
        return {
            "scores": scored.component_scores,
            "largest": scored.max_component_score,
            "log_prob": scored.log_prob,
            "responsibilities": scored.responsibilities,
        }


def pulling(folding: Folding, gmm: GMM, x: Tensor) -> Results:
    weights = normal(len(x), *gmm.output_shape, seed=9).to(x)
    with torch.no_grad():
        return {"gradient": folding.patches(x).pull(weights, gmm.loc.detach(), gmm.precision_sqrt.detach())}


def stepping(sigma: float | None) -> Pass:
    def step(folding: Folding, gmm: GMM, x: Tensor) -> Results:
        own, kernel = copy.deepcopy(gmm), kernel_of(gmm.components, sigma)
        speed = Rates(*(rate.to(x) for rate in rates()))
        value, passed = own.step(folding.patches(x), None if kernel is None else kernel.to(x), speed, passes_on=True)
        assert passed is not None
        return {"value": value, "passed": passed, **{name: each.detach() for name, each in own.named_parameters()}}

    return step


PASSES: dict[str, Pass] = {
    "scores": scoring,
    "pull": pulling,
    "step": stepping(None),
    "smoothed step": stepping(0.7),
    "sharp step": stepping(0.05),  # of whose kernel much is 0
}
# Where the value goes: into the maps, or into a parameter of one component.
TARGETS = ["x", "loc", "precision_sqrt", "logits"]


def with_value(case: Case, target: str, value: float) -> tuple[Folding, GMM, Tensor]:
    folding, gmm, x = layers(case)
    with torch.no_grad():
        (x if target == "x" else gmm.get_parameter(target)[-1:]).flatten()[-1:] = value
    return folding, gmm, x


PARAMETERS = ("logits", "loc", "precision_sqrt")


def assert_agree(compiled: Results, exact: Results) -> None:
    for name, value in compiled.items():
        assert torch.equal(value.isnan(), exact[name].isnan()), name
        torch.testing.assert_close(value.double(), exact[name], **CLOSE, equal_nan=True)


each_pass = pytest.mark.parametrize("run", PASSES.values(), ids=PASSES)
each_case = pytest.mark.parametrize("case", CASES, ids=[str(case[-1]) for case in CASES])


@each_pass
@each_case
@pytest.mark.parametrize("target", TARGETS)
def test_nan_spreads_as_in_tensors(run: Pass, case: Case, target: str) -> None:
    folding, gmm, x = with_value(case, target, nan)
    compiled, exact = run(folding, gmm, x), run(folding, copy.deepcopy(gmm).double(), x.double())
    if target == "x":  # tensors sum over the winner's points by a product, which spreads NaN to all components
        assert ("loc" not in compiled) or (compiled["loc"].isnan().any() and exact["loc"].isnan().any())
        compiled = {name: value for name, value in compiled.items() if name not in PARAMETERS}
    assert_agree(compiled, exact)
    if not (run is pulling and target == "logits"):
        assert any(bool(value.isnan().any()) for value in compiled.values())


@each_pass
@each_case
@pytest.mark.parametrize("value", [1e-40, -1e-42, 0.0])
@pytest.mark.parametrize("target", ["x", "loc", "logits"])  # precision_sqrt lies in its limits, normal numbers
def test_denormal_numbers_count_as_in_tensors(run: Pass, case: Case, target: str, value: float) -> None:
    folding, gmm, x = with_value(case, target, value)
    assert_agree(run(folding, gmm, x), run(folding, copy.deepcopy(gmm).double(), x.double()))


@each_pass
@each_case
@pytest.mark.parametrize("value", [inf, -inf])
def test_an_infinite_pixel_leaves_no_finite_figure_that_tensors_do_not(run: Pass, case: Case, value: float) -> None:
    # inf - inf, where tensors subtract a linear and a quadratic part, is -inf where a pass adds them as one.
    folding, gmm, x = with_value(case, "x", value)
    compiled, exact = run(folding, gmm, x), run(folding, copy.deepcopy(gmm).double(), x.double())
    for name in compiled.keys() - set(PARAMETERS):
        assert torch.equal(compiled[name].isfinite(), exact[name].isfinite()), name
    if run is not pulling:
        assert not all(bool(each.isfinite().all()) for each in compiled.values())


@each_case
def test_scores_that_overflow_are_those_of_tensors(case: Case) -> None:
    folding, gmm, x = with_value(case, "x", 1e25)  # whose square is too large
    scored = gmm.score(folding.patches(x))  # with gradients: by tensors, in float32 too
    compiled = scoring(folding, gmm, x)
    assert compiled["log_prob"].isneginf().any()
    assert_agree(
        compiled,
        {"scores": scored.component_scores.detach().double()}
        | {
            "largest": scored.max_component_score.detach().double(),
            "log_prob": scored.log_prob.detach().double(),
            "responsibilities": scored.responsibilities.detach().double(),
        },
    )


@pytest.mark.parametrize("target", ["x", "loc", "factors"])
def test_nan_spreads_through_factors_as_in_tensors(target: str) -> None:
    gmm = give_factors(FactorGMM(Shape(2, 3, 20), 9, 2))
    x = normal(4, 2, 3, 20).float()
    with torch.no_grad():
        (x if target == "x" else gmm.get_parameter(target)[-1:])[..., -1:, -1:] = nan
    exact, speed = copy.deepcopy(gmm).double(), Rates(*uniform(4).float())
    value, passed = gmm.step(x, None, speed, passes_on=True)
    right, right_passed = exact.step(x.double(), None, Rates(*(rate.double() for rate in speed)), passes_on=True)
    assert passed is not None
    assert right_passed is not None
    assert value.isnan()
    assert right.isnan()
    torch.testing.assert_close(passed.double(), right_passed, **CLOSE, equal_nan=True)
    assert any(bool(each.isnan().any()) for each in gmm.parameters())


ROWS = {
    "no number": [nan, 1.0, 2.0],
    "the last is none": [1.0, 2.0, nan],
    "none is": [nan, nan, nan],
    "infinite": [inf, 1.0, 2.0],
    "infinite twice": [1.0, inf, inf],
    "infinite, and none": [inf, nan, 1.0],
    "impossible": [1.0, -inf, 2.0],
    "all impossible": [-inf, -inf, -inf],
    "both": [inf, -inf, 0.0],
    "denormal": [1e-40, -1e-40, 0.0],
    "far": [0.0, -86.0, -3e38],
    "alike": [-3e30, -3e30, -3e30],
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("components", [3, 16, 17, 40])
def test_what_rows_of_scores_come_to(row: list[float], components: int) -> None:
    scores = torch.tensor([-1.0, -2.0]).repeat(components)[:components].repeat(5, 1)
    scores[2, -3:] = torch.tensor(row)
    scores[4, :3] = torch.tensor(row)
    exact = scores.double()
    for compiled, right in (
        (native.largest(scores), exact.amax(-1)),
        (native.log_prob(scores), exact.logsumexp(-1)),
        (native.responsibilities(scores), exact.softmax(-1)),
    ):
        torch.testing.assert_close(compiled.double(), right, **CLOSE, equal_nan=True)


@pytest.mark.parametrize("components", [1, 5, 16])
def test_no_rows_come_to_nothing(components: int) -> None:
    scores = torch.empty(0, 4, components)
    assert native.largest(scores).shape == native.log_prob(scores).shape == (0, 4)
    assert native.responsibilities(scores).shape == (0, 4, components)


@each_case
@pytest.mark.parametrize("run", [scoring, pulling])
def test_no_samples_give_none(run: Pass, case: Case) -> None:
    folding, gmm, x = layers(case)
    compiled, exact = run(folding, gmm, x[:0]), run(folding, copy.deepcopy(gmm).double(), x[:0].double())
    assert {name: value.shape for name, value in compiled.items()} == {n: value.shape for n, value in exact.items()}
    assert all(value.dtype == torch.float32 for value in compiled.values())


@pytest.mark.parametrize("d", [1e-5, 1e-3, 40.0, 4e4, 6e9, 1e18])
def test_determinants_of_any_size(d: float) -> None:
    # 64 such numbers multiplied are too small, or too large, for a double.
    gmm = GMM(Shape(1, 1, 200), 4)
    with torch.no_grad():
        gmm.loc.fill_(0.0)
        gmm.precision_sqrt.fill_(d)
    folding = Folding(Shape(1, 1, 200), (1, 1))
    (_, value, _) = in_float64(folding, gmm, torch.zeros(1, 1, 1, 200), None, Rates(*torch.zeros(4)))
    objective, _ = gmm.step(torch.zeros(1, 1, 1, 200), None, Rates(*torch.zeros(4)), passes_on=False)
    torch.testing.assert_close(objective.double(), value, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("components", [4, 25, 100])
def test_a_point_far_from_all_components_goes_to_the_one_that_smoothing_says(components: int) -> None:
    # Scores near -500,000, where float32 has steps of 1/32, that differ by few of those: smoothed as they are,
    # rounding would decide.
    gmm, kernel = GMM(Shape(1, 1, 1), components), kernel_of(components, 1.0)
    assert kernel is not None
    generator = torch.Generator().manual_seed(0)
    grid = smoothed(torch.eye(components, dtype=torch.float64), kernel.double())
    for _ in range(30):
        logits = torch.randint(0, 16, (components,), generator=generator) / 16
        with torch.no_grad():
            gmm.logits.copy_(logits)
            gmm.loc.fill_(1000.0)
            gmm.precision_sqrt.fill_(1.0)
        _, winner = smoothed_winner(logits.double()[None], kernel.double())
        gmm.step(torch.zeros(1, 1, 1, 1), kernel, Rates(*torch.tensor([1.0, 0, 0, 0])), passes_on=False)
        share = gmm.logits.detach() - logits + logits.softmax(-1)
        torch.testing.assert_close(share.double(), grid[winner[0]], rtol=0, atol=1e-5)


def test_tensors_smooth_differences_of_scores_too() -> None:
    kernel = kernel_of(25, 1.0)
    assert kernel is not None
    differences = torch.randint(0, 16, (500, 25), generator=torch.Generator().manual_seed(1)) / 16
    far = differences - 500_000.0
    assert torch.equal(smoothed_winner(far, kernel)[1], smoothed_winner(differences, kernel)[1])
