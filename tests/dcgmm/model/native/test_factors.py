"""The compiled passes of factor layers against the tensors that they stand for, in float64."""

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.model import DCGMM, FactorGMM, Folding, Rates, Shape
from dcgmm.model.annealing import ring_distances, smoothing_kernel
from dcgmm.model.factors import add_factors, capacitance, factor_parameters
from dcgmm.model.native import build, factors
from dcgmm.model.patches import Patches
from tests.conftest import normal, uniform
from tests.dcgmm.model.native.samples import LIKE_FLOAT64, NEEDS_COMPILER, kernel_of
from tests.dcgmm.small import give_factors
from tests.refusals import option_refused

# samples, map (H, W, C), kernel, stride, K, L: fewer features than lanes and more, no multiple of a vector; from one
# factor to one fewer than features; whole maps, windows that overlap, an uncovered rim, single positions; components
# that win nothing, and one that wins all
CASES = [
    (3, (6, 5, 1), (3, 3), (1, 1), 25, 4),
    (5, (9, 8, 2), (5, 4), (2, 1), 4, 7),
    (7, (5, 7, 1), (2, 3), (1, 2), 1, 5),
    (50, (4, 8, 2), (4, 8), (1, 1), 121, 16),
    (13, (4, 5, 2), (4, 5), (1, 1), 9, 1),
    (40, (3, 2, 20), (1, 1), (1, 1), 4, 19),
    (1, (1, 1, 2), (1, 1), (1, 1), 16, 1),
    (20, (14, 11, 1), (14, 11), (1, 1), 9, 6),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
Case = tuple[int, tuple[int, int, int], tuple[int, int], tuple[int, int], int, int]
SPEED = torch.tensor([0.1, 0.5, 0.02, 0.05])


def layers(case: Case, batch_shape: tuple[int, ...] = ()) -> tuple[Folding, FactorGMM, Tensor]:
    """A layer of float32 with parameters that are nowhere special, and images for it."""
    samples, shape, kernel, stride, components, count = case
    folding = Folding(Shape(*shape), kernel, stride)
    gmm = FactorGMM(folding.output_shape, components, count, batch_shape=batch_shape)
    with torch.no_grad():
        gmm.logits.copy_(normal(*gmm.logits.shape, seed=1))
        gmm.loc.copy_(uniform(*gmm.loc.shape, seed=2))
        gmm.precision_sqrt.copy_(1 + uniform(*gmm.precision_sqrt.shape, seed=3))
    return folding, give_factors(gmm, floor=0.3), uniform(*batch_shape, samples, *shape, seed=4).float()


def rates(batch_shape: tuple[int, ...] = ()) -> Rates:
    return Rates(*(rate.expand(batch_shape) for rate in SPEED))


def in_float64(
    folding: Folding, gmm: FactorGMM, x: Tensor, kernel: Tensor | None, speed: Rates
) -> tuple[FactorGMM, Tensor, Tensor]:
    """What tensors make of the same step."""
    exact = copy.deepcopy(gmm).double()
    exact.held = gmm.held
    patches, kernel = folding.patches(x.double()), None if kernel is None else kernel.double()
    value, passed = exact.step(patches, kernel, Rates(*(rate.double() for rate in speed)), passes_on=True)
    assert passed is not None
    return exact, value, passed


def assert_like(gmm: FactorGMM, exact: FactorGMM) -> None:
    """Factors up to what leaves the Gaussian as it is; but M is diagonal in both, the strongest first."""
    for name in ("logits", "loc", "precision_sqrt"):
        torch.testing.assert_close(gmm.get_parameter(name).double(), exact.get_parameter(name), **LIKE_FLOAT64)
    mine, theirs = gmm.factors.detach().double(), exact.factors.detach()
    torch.testing.assert_close(mine @ mine.mT, theirs @ theirs.mT, **LIKE_FLOAT64)
    inner = capacitance(exact.precision_sqrt.detach(), theirs)
    found = capacitance(gmm.precision_sqrt.detach().double(), mine)
    torch.testing.assert_close(found, inner, **LIKE_FLOAT64)


@NEEDS_COMPILER
@cases
@pytest.mark.parametrize("held", [False, True])
def test_a_step_is_that_of_tensors(case: Case, held: bool, threads: int) -> None:
    folding, gmm, x = layers(case)
    gmm.held = torch.tensor(True) if held else None
    with torch.no_grad():
        assert factors.takes(x, *gmm.parameters())
    exact, value, passed = in_float64(folding, gmm, x, None, rates())
    before, start = copy.deepcopy(gmm), copy.deepcopy(gmm)
    objective, responsibilities = gmm.step(folding.patches(x), None, rates(), passes_on=True)
    assert responsibilities is not None
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    torch.testing.assert_close(responsibilities.double(), passed, **LIKE_FLOAT64)
    assert_like(gmm, exact)
    # What wins nothing keeps its bits, here and there.
    still = (gmm.loc == start.loc).all(-1)
    assert torch.equal(still, (exact.loc == start.loc).all(-1))
    for name in ("precision_sqrt", "factors"):
        assert torch.equal(gmm.get_parameter(name)[still], start.get_parameter(name)[still])
        assert torch.equal(exact.get_parameter(name)[still], start.get_parameter(name)[still].double())
    # Not wanted, responsibilities change nothing else; nor does the number of threads.
    torch.set_num_threads(1)
    objective_again, nothing = before.step(folding.patches(x), None, rates(), passes_on=False)
    assert nothing is None
    assert torch.equal(objective_again, objective)
    for name, parameter in gmm.named_parameters():
        assert torch.equal(parameter, before.get_parameter(name))


@NEEDS_COMPILER
@cases
def test_scores_and_what_they_need_are_those_of_tensors(case: Case, threads: int) -> None:
    folding, gmm, x = layers(case)
    exact = copy.deepcopy(gmm).double()
    expected = exact.score(folding.patches(x.double())).component_scores.detach()
    with torch.no_grad():
        scores = gmm.score(folding.patches(x)).component_scores
        torch.testing.assert_close(scores.double(), expected, **LIKE_FLOAT64)
        for mine, theirs in zip(gmm.factor_parameters(), exact.factor_parameters(), strict=True):
            torch.testing.assert_close(mine.double(), theirs, **LIKE_FLOAT64)
        view = x.movedim(-1, 1).contiguous().movedim(1, -1)  # other strides
        torch.testing.assert_close(gmm.score(folding.patches(view)).component_scores, scores)


@NEEDS_COMPILER
@pytest.mark.parametrize("sigma", [None, 1.0])
@pytest.mark.parametrize("batch_shape", [(3,), (3, 1)])
def test_models_side_by_side_step_as_each_alone(batch_shape: tuple[int, ...], sigma: float | None) -> None:
    """The first still anneals, and has no factors; the second one's points are held; the third is free."""
    case: Case = (4, (6, 5, 3), (3, 2), (1, 1), 9, 3)
    folding, together, x = layers(case, batch_shape)
    kernel = None
    together.held = torch.tensor([False, True, False]).view(batch_shape)
    if sigma is not None:
        side = smoothing_kernel(ring_distances(9), torch.tensor(sigma))
        kernel = torch.stack([side, torch.eye(3), torch.eye(3)]).view(*batch_shape, 3, 3)
        with torch.no_grad():
            together.factors[0] = 0
    before = copy.deepcopy(together)
    exact, exact_value, exact_passed = in_float64(folding, together, x, kernel, rates(batch_shape))
    value, passed = together.step(folding.patches(x), kernel, rates(batch_shape), passes_on=True)
    assert passed is not None
    torch.testing.assert_close(value.double(), exact_value, **LIKE_FLOAT64)
    torch.testing.assert_close(passed.double(), exact_passed, **LIKE_FLOAT64)
    assert_like(together, exact)
    for number in range(3):
        place = (number, 0)[: len(batch_shape)]
        alone = FactorGMM(folding.output_shape, 9, 3)
        alone.load_state_dict({name: parameter[place] for name, parameter in before.state_dict().items()})
        alone.held = torch.tensor(True) if number == 1 else None
        own = kernel_of(9, sigma) if number == 0 else None
        value_alone, passed_alone = alone.step(folding.patches(x[place]), own, rates(), passes_on=True)
        assert passed_alone is not None
        assert torch.equal(value[place], value_alone)
        assert torch.equal(passed[place], passed_alone)
        for name, parameter in alone.named_parameters():
            assert torch.equal(together.get_parameter(name)[place], parameter)


@NEEDS_COMPILER
def test_factors_of_a_model_that_anneals_are_left_to_tensors() -> None:
    folding, gmm, x = layers(CASES[0])
    kernel = kernel_of(25, 1.0)
    exact, value, _ = in_float64(folding, gmm, x, kernel, rates())
    objective, _ = gmm.step(folding.patches(x), kernel, rates(), passes_on=False)
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    assert_like(gmm, exact)


@NEEDS_COMPILER
def test_many_points_of_one_component(threads: int) -> None:
    """More than are held at once."""
    folding, gmm, _ = layers((1, (2, 3, 3), (2, 3), (1, 1), 4, 5))
    with torch.no_grad():
        gmm.logits.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]))
    x = uniform(9000, 2, 3, 3, seed=6).float()
    exact, value, _ = in_float64(folding, gmm, x, None, rates())
    objective, _ = gmm.step(folding.patches(x), None, rates(), passes_on=False)
    assert int((gmm.loc != layers((1, (2, 3, 3), (2, 3), (1, 1), 4, 5))[1].loc).any(-1).sum()) == 1
    torch.testing.assert_close(objective.double(), value, **LIKE_FLOAT64)
    assert_like(gmm, exact)


@NEEDS_COMPILER
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_show_in_the_parameters(bad: float) -> None:
    folding, gmm, x = layers(CASES[0])
    x[1, 2, 3] = bad
    gmm.step(folding.patches(x), None, rates(), passes_on=True)
    assert not all(bool(parameter.isfinite().all()) for parameter in gmm.parameters())


@NEEDS_COMPILER
def test_an_indefinite_precision_has_no_density() -> None:
    folding, gmm, x = layers(CASES[1])
    with torch.no_grad():
        gmm.factors[2] *= 10
        scores = gmm.score(folding.patches(x)).component_scores
    assert scores.isnan().flatten(0, -2).any(0).tolist() == [False, False, True, False]


@NEEDS_COMPILER
def test_no_factors_and_several_models_are_left_to_tensors() -> None:
    loc, roots, x = normal(4, 6).float(), 1 + uniform(4, 6).float(), normal(3, 6).float()
    with torch.no_grad():
        none = factor_parameters(loc, roots, torch.zeros(4, 6, 0))
        assert none.inverse.shape == (4, 0, 0)
        scores = torch.zeros(3, 4)
        assert add_factors(scores, x, none) is scores
        several = factor_parameters(loc.expand(2, 4, 6), roots, 0.1 * normal(2, 4, 6, 3).float())
        assert add_factors(torch.zeros(2, 3, 4), x, several).shape == (2, 3, 4)


LOC, ROWS = torch.ones(4, 6), torch.full((3, 4, 6), 0.1)


@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("field", "loc", "precision_sqrt", "rows"),
    [
        ("loc", torch.ones(4, 5), LOC, ROWS),
        ("loc", LOC.double(), LOC, ROWS),
        ("precision_sqrt", LOC, torch.ones(5, 6), ROWS),
        ("rows", LOC, LOC, ROWS[None]),
        ("rows", LOC, LOC, ROWS[:0]),
    ],
)
def test_parameters_of_other_shapes_are_refused(field: str, loc: Tensor, precision_sqrt: Tensor, rows: Tensor) -> None:
    with pytest.raises(OptionError) as error:
        factors.factor_parameters(loc, precision_sqrt, rows)
    assert error.value.field == field


@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("x", {"x": torch.ones(2, 5)}),
        ("winner", {"winner": torch.tensor([0, 4])}),
        ("winner", {"winner": torch.tensor([-1, 0])}),
        ("winner", {"winner": torch.tensor([0, 1], dtype=torch.int32)}),
        ("winner", {"winner": torch.tensor([0])}),
        ("scores", {"scores": torch.ones(2, 3)}),
        ("loc", {"parameters": (torch.ones(6, 4).mT, LOC, ROWS)}),
        ("rows", {"parameters": (LOC, LOC, torch.ones(3, 6, 4).mT)}),
    ],
)
def test_what_a_step_cannot_work_on_is_refused_and_nothing_changed(field: str, changed: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "x": torch.ones(2, 6),
        "winner": torch.tensor([0, 1]),
        "scores": torch.ones(2, 4),
        "parameters": (LOC, LOC, ROWS),
    }
    before = [each.clone() for each in (LOC, ROWS)]
    with pytest.raises(OptionError) as error:
        factors.ascend(**(given | changed), rates=torch.ones(3).unbind(), limits=(0.1, 4.0), factor_floor=0.1)
    assert error.value.field == field
    assert all(map(torch.equal, (LOC, ROWS), before))


@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("points", "value", "allowed"),
    [([2, 2], "of shape (2, 12), float32, on cpu", (1, 12)), ([2], 2, 3), ([], 0, 3)],
)
def test_blocks_of_too_many_or_too_few_points_are_refused(points: list[int], value: object, allowed: object) -> None:
    blocks = [torch.ones(each, 12) for each in points]
    with option_refused("products", value, allowed):
        factors.add_factors(torch.ones(3, 4), blocks, ROWS, torch.ones(3, 4), torch.ones(4))


def test_without_these_passes_tensors_do_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folding, gmm, x = layers(CASES[0])
    exact, _, _ = in_float64(folding, gmm, x, None, rates())
    monkeypatch.setattr(factors, "SOURCE", tmp_path / "factors.cpp")
    with caplog.at_level(logging.WARNING, build.__name__):
        gmm.step(Patches(x, folding.window), None, rates(), passes_on=False)
    assert "computing without factors.cpp, which is slower" in caplog.text
    assert_like(gmm, exact)


def test_a_model_taken_out_of_several_keeps_the_layout_that_the_passes_take() -> None:
    models = [DCGMM([give_factors(FactorGMM(Shape(1, 1, 6), 4, 2), seed)]) for seed in range(2)]
    together = DCGMM.side_by_side(models)
    for model in (together, *together.alone()):
        gmm = model.gmms["gmm1"]
        assert isinstance(gmm, FactorGMM)
        assert gmm.factors.movedim(-1, -3).is_contiguous()
    assert torch.equal(together.get_parameter("layers.0.factors")[1], models[1].get_parameter("layers.0.factors"))
