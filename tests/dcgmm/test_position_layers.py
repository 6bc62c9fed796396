"""Parameters for each position (`shared: false`): H W models of one position each, in all that a model does."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dcgmm.checkpoints import load, save
from dcgmm.clustering import assign
from dcgmm.density import density
from dcgmm.generation import inpaint, sample
from dcgmm.model import DCGMM, GMM, LayerOptions, Rates, Shape
from dcgmm.model.annealing import ring_distances, smoothing_kernel
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.options import made
from dcgmm.outliers import Detector
from dcgmm.outliers.ratio import SMOOTHING, log_ratio
from dcgmm.sklearn import ConvolutionalGaussianMixture
from dcgmm.states import build_model, model_state
from dcgmm.training import Trainer, TrainerOptions, weights
from tests.conftest import FLOAT32, ROUNDING, normal, uniform
from tests.dcgmm.small import give_factors
from tests.refusals import refused

INPUT = Shape(3, 2, 5)
TILE, GRID, IMAGE = (2, 3), (2, 2), (4, 6, 1)  # not square
FOLDING: dict[str, Any] = {"type": "folding", "kernel": TILE, "stride": TILE}
both = pytest.mark.parametrize("factors", [0, 2])


def gmm_of(factors: int, shape: Shape = INPUT, *, shared: bool = False, seed: int = 0) -> GMM:
    """A layer with parameters that are nowhere special."""
    gmm = FactorGMM(shape, 9, factors, shared=shared) if factors else GMM(shape, 9, shared=shared)
    with torch.no_grad():
        gmm.double().logits.copy_(normal(*gmm.logits.shape, seed=seed))
        gmm.loc.copy_(normal(*gmm.loc.shape, seed=seed + 1))
        gmm.precision_sqrt.copy_(0.3 + uniform(*gmm.precision_sqrt.shape, seed=seed + 2))
    return give_factors(gmm) if isinstance(gmm, FactorGMM) else gmm


def at(gmm: GMM, row: int, column: int) -> GMM:
    """The shared layer of one position that has its parameters."""
    alone = gmm_of(gmm.description.factors or 0, Shape(1, 1, gmm.input_shape.channels), shared=True).to(gmm.loc.dtype)
    alone.load_state_dict({name: value[row, column] for name, value in gmm.state_dict().items()})
    return alone


def positions(height: int, width: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(height) for column in range(width)]


@both
def test_each_position_scores_and_draws_as_a_layer_of_its_own(factors: int) -> None:
    gmm, x, noise = gmm_of(factors), normal(4, *INPUT, seed=7), normal(4, *INPUT, seed=8)
    extra = [normal(4, 3, 2, factors, seed=9)] if factors else []
    scored = gmm.score(x)
    components = scored.responsibilities.argmax(-1)
    draws, means = gmm.downward(components, noise, 0.5, *extra), gmm.mean(scored.responsibilities)
    for row, column in positions(3, 2):
        here, alone = (slice(None), slice(row, row + 1), slice(column, column + 1)), at(gmm, row, column)
        own = alone.score(x[here])
        torch.testing.assert_close(scored.component_scores[here], own.component_scores, **ROUNDING)
        torch.testing.assert_close(scored.log_prob[here], own.log_prob, **ROUNDING)
        drawn = alone.downward(components[here], noise[here], 0.5, *(each[here] for each in extra))
        torch.testing.assert_close(draws[here], drawn, **ROUNDING)
        torch.testing.assert_close(means[here], alone.mean(own.responsibilities), **ROUNDING)
        torch.testing.assert_close(gmm.variance[row, column], alone.variance, **ROUNDING)


@both
@pytest.mark.parametrize("annealing", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_step_is_that_of_each_position_alone(factors: int, annealing: bool, dtype: torch.dtype) -> None:
    gmm, x = gmm_of(factors).to(dtype), normal(6, *INPUT, seed=7).to(dtype)
    kernel = smoothing_kernel(ring_distances(9), 0.2 + uniform(3, 2)).to(dtype) if annealing else None
    rates = Rates(*(0.01 * uniform(4, 3, 2, seed=5)).to(dtype))
    before = {place: at(gmm, *place) for place in positions(3, 2)}
    value, passed = gmm.step(x, kernel, rates, passes_on=True)
    close: Any = ROUNDING if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    for (row, column), alone in before.items():
        part, rate = x[:, row : row + 1, column : column + 1], Rates(*(each[row, column] for each in rates))
        given = None if kernel is None else kernel[row, column]
        own_value, own_passed = alone.step(part, given, rate, passes_on=True)
        torch.testing.assert_close(value[row, column], own_value, **close)
        assert passed is not None
        assert own_passed is not None
        torch.testing.assert_close(passed[:, row, column], own_passed[:, 0, 0], **close)
        for name, parameter in alone.state_dict().items():
            torch.testing.assert_close(gmm.state_dict()[name][row, column], parameter, **close)


@both
def test_at_one_position_it_is_the_shared_layer(factors: int) -> None:
    shape = Shape(1, 1, 5)
    own, x = gmm_of(factors, shape).float(), normal(6, *shape, seed=7).float()
    shared = at(own, 0, 0)
    kernel, rates = smoothing_kernel(ring_distances(9), torch.tensor(0.7)), 0.01 * uniform(4).float()
    torch.testing.assert_close(own.log_prob(x), shared.log_prob(x), **FLOAT32)
    for _ in range(3):
        value, passed = own.step(x, kernel[None, None], Rates(*rates[:, None, None]), passes_on=True)
        expected, expected_passed = shared.step(x, kernel, Rates(*rates), passes_on=True)
        torch.testing.assert_close(value[0, 0], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(passed, expected_passed, rtol=1e-5, atol=1e-5)
    for name, parameter in shared.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name][0, 0], parameter, rtol=1e-5, atol=1e-5)
        if not factors:  # the same compiled step
            assert torch.equal(own.state_dict()[name][0, 0], parameter)


# Models

# 7 steps an epoch, windows of 2; some 6 of them anneal, and the first 8 steps with factors hold points.
HOW: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 5,
    "centroid_epochs": 0.5,
    "factor_epochs": 8 / 7,
    "annealing": {"alpha": 1 / 2, "sigma_end": 0.2, "delta": 0.3, "gamma": 0.5},
}


def tiles(factors: int | None = 0, **more: Any) -> dict[str, Any]:
    return {"type": "gmm", "components": 4, "factors": factors, "shared": False, **more}


def model_of(*layers: dict[str, Any], shape: tuple[int, int, int] = IMAGE, seed: int = 0) -> DCGMM:
    model = DCGMM.build(shape, layers).double()
    with torch.no_grad():
        for number, layer in enumerate(model.gmms.values(), start=3 * seed):
            layer.logits.copy_(normal(*layer.logits.shape, seed=number))
            layer.loc.copy_(uniform(*layer.loc.shape, seed=number))
            layer.precision_sqrt.copy_(1 + 3 * uniform(*layer.loc.shape, seed=number))
    return give_factors(model)


def deep(factors: int = 2) -> DCGMM:
    """Windows that tile, and windows that overlap over them, at four positions."""
    layers = [{"type": "folding", "kernel": (2, 1), "stride": (2, 1)}, tiles(1 if factors else 0)]
    return model_of(*layers, {"type": "folding", "kernel": (2, 3)}, tiles(factors))


def images(count: int = 35, seed: int = 5) -> Tensor:
    return (255 * uniform(count, *IMAGE, seed=seed)).to(torch.uint8)


def alone(model: DCGMM) -> dict[tuple[int, int], DCGMM]:
    """A model of each tile, with the parameters of its position."""
    found = {}
    layer = {**model.gmms["gmm1"].description.__dict__, "shared": True}
    for row, column in positions(*GRID):
        found[row, column] = DCGMM.build((*TILE, 1), [{**FOLDING, "stride": (1, 1)}, LayerOptions(**layer)]).double()
        state = {name: value[row, column] for name, value in model.state_dict().items()}
        found[row, column].load_state_dict(state)
    return found


def tile_of(maps: Tensor, row: int, column: int) -> Tensor:  # (N, 4, 6, ...) -> (N, 2, 3, ...)
    (height, width) = TILE
    return maps[:, height * row : height * (row + 1), width * column : width * (column + 1)].contiguous()


def trainer(model: DCGMM, given: Tensor, seed: int = 0) -> Trainer:
    return Trainer(model, given, made(TrainerOptions, HOW), [torch.Generator().manual_seed(seed)])


def started(factors: int) -> DCGMM:
    model = DCGMM.build(IMAGE, [FOLDING, tiles(factors)]).double()
    model.draw_start(torch.Generator().manual_seed(3))
    return model


@both
def test_training_is_that_of_a_model_for_each_position(factors: int) -> None:
    model, given = started(factors), images()
    apart, together = alone(model), trainer(model, given)
    others = {place: trainer(each, tile_of(given, *place)) for place, each in apart.items()}
    for _ in range(together.total_steps):
        reports = together.step()
        owns = [each.step() for each in others.values()]
        if reports is not None:
            for field in ("objective", "sigma", "learning_rate", "log_likelihood"):
                mean = np.mean([getattr(own[0]["gmm1"], field) for own in owns if own is not None])
                assert getattr(reports[0]["gmm1"], field) == pytest.approx(mean, rel=1e-9)
    gmm = model.gmms["gmm1"]
    assert not factors or (isinstance(gmm, FactorGMM) and gmm.has_factors)
    weights.weights_by_use(model, given)
    for place, each in apart.items():
        weights.weights_by_use(each, tile_of(given, *place))
        for name, value in each.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name][place], value, rtol=1e-9, atol=1e-9)


def test_replicas_train_as_each_alone_and_goes_on_from_any_step() -> None:
    given, seeds = images(), (0, 1)
    options, generators = made(TrainerOptions, HOW), [torch.Generator().manual_seed(seed) for seed in seeds]
    together = Trainer(DCGMM.side_by_side([started(2), started(2)]), given, options, generators)
    singles = [trainer(started(2), given, seed) for seed in seeds]
    for step in range(together.total_steps):
        together.step()
        for number, single in enumerate(singles):
            if step == 20:  # annealed, with young factors
                resumed = trainer(copy.deepcopy(single.model), given, 9)
                resumed.load_state_dicts(copy.deepcopy(single.state_dicts()))
                singles[number] = single = resumed
            single.step()
    for model, single in zip(together.model.alone(), singles, strict=True):
        for name, value in single.model.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-9, atol=1e-9)
    whole = trainer(started(2), given)
    while whole.steps < whole.total_steps:
        whole.step()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, singles[0].model.state_dict()[name])


@both
def test_tiles_have_the_density_the_parts_and_the_completions_of_each(factors: int) -> None:
    model, given = model_of(FOLDING, tiles(factors)), uniform(3, *IMAGE)
    seen = uniform(3, *IMAGE[:2], seed=1) < 0.6
    parts, completed = model.score(given, seen)["gmm1"].log_prob, inpaint(model, given, seen, count=0).mean
    nats = torch.zeros(3, dtype=torch.float64)
    for place, each in alone(model).items():
        own, mask = tile_of(given, *place), tile_of(seen, *place)
        nats = nats + density(each, own).nats
        torch.testing.assert_close(parts[:, *place], each.score(own, mask)["gmm1"].log_prob[:, 0, 0], **ROUNDING)
        torch.testing.assert_close(tile_of(completed, *place), inpaint(each, own, mask, count=0).mean, **ROUNDING)
    torch.testing.assert_close(density(model, given).nats, nats, **ROUNDING)


@both
def test_without_noise_a_sample_is_made_of_its_positions_centroids(factors: int) -> None:
    model = model_of(FOLDING, tiles(factors))
    drawn = sample(model, 500, std_scale=0.0, factor_scale=0.0)
    gmm, components = model.gmms["gmm1"], drawn.components["gmm1"]
    for row, column in positions(*GRID):
        expected = gmm.loc[row, column, components[:, row, column]]
        torch.testing.assert_close(tile_of(drawn.images, row, column).flatten(1), expected.detach(), **ROUNDING)
        frequency = components[:, row, column].bincount(minlength=4) / 500
        assert (frequency - gmm.log_weights.exp()[row, column]).abs().max() < 0.1
    assert torch.equal(sample(deep(), 4, top_s=2).images, sample(deep(), 4, top_s=2).images)


@both
def test_completions_of_several_layers_keep_what_was_seen(factors: int) -> None:
    given = uniform(3, *IMAGE)
    seen = torch.arange(6).expand(4, 6) < 3
    done = inpaint(deep(factors), given, seen, count=2)
    assert done.draws.isfinite().all()
    for each in (done.mean, *done.draws):
        assert torch.equal(each[:, seen], given[:, seen])
    assert not torch.equal(done.draws[0], done.draws[1])


@both
def test_outliers_know_the_arrangement_at_each_position(factors: int) -> None:
    model, given = deep(factors), images(20)
    lower, top = model.gmms.values()
    patches = model.score(given)["gmm2"].patches
    ratio = log_ratio(top, lower.components, patches)
    assert ratio.shape == (20, *top.output_shape[:2])
    for row, column in positions(*top.output_shape[:2]):
        theta = top.loc[row, column].view(4, -1, lower.components).clamp(min=0)
        theta = theta / theta.sum(-1, keepdim=True)
        pi = top.log_weights[row, column].exp()
        overall = torch.einsum("k,kpj->pj", pi, theta).mean(0)
        mixed = (1 - SMOOTHING) * theta + SMOOTHING * overall
        cells = patches.values[row, column].view(20, -1, lower.components)
        cells = cells / cells.sum(-1, keepdim=True) / overall
        expected = (torch.einsum("npj,kpj->nkp", cells, mixed).log().sum(-1) + pi.log()).logsumexp(-1)
        torch.testing.assert_close(ratio[:, row, column], expected, **ROUNDING)
    detector = Detector.fit(model, given)
    assert detector.pixels is not None
    assert detector.pixels.weights.shape == (top.output_shape.positions * 4,)
    scores, again = detector.scores(given), Detector.from_state(model, detector.state_dict()).scores(given)
    for name, values in scores.items():
        assert values.isfinite().all()
        assert torch.equal(values, again[name])


def test_the_names_of_a_position_s_components_do_not_matter() -> None:
    model, given = deep(), images(20)
    renamed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in renamed.gmms["gmm2"].parameters():
            parameter[0, 1] = parameter[0, 1, [2, 0, 3, 1]].clone()
    expected, found = (Detector.fit(each, given).scores(images(5, 1)) for each in (model, renamed))
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-8, atol=1e-8)


@both
def test_files_and_clusters(factors: int, tmp_path: Path) -> None:
    model, given = deep(factors), images(6)
    save(model, tmp_path / "model.pt")
    for again in (load(tmp_path / "model.pt"), build_model(model_state(model))):
        assert str(again.architecture) == str(model.architecture)
        assert torch.equal(again.log_prob(given), model.log_prob(given))
    assigned = assign(model, given, "gmm2", (0, 2))
    assert torch.equal(assigned.labels, model.score(given)["gmm2"].component_scores[:, 0, 2].argmax(-1))
    shared = model_state(model)
    shared["architecture"]["layers"][1]["shared"] = True
    with refused("layers.1.logits", "[2, 6, 4]", "[4]"):
        build_model(shared)


def test_it_is_written_in_one_way() -> None:
    assert str(deep().architecture) == "F(2,1,2,1) G(4,1,own) F(2,3,1,1) G(4,2,own)"
    assert made(LayerOptions, {"type": "gmm", "components": 4}) == made(LayerOptions, tiles(None, shared=True))
    assert made(LayerOptions, tiles(shared=np.False_)).shared is False


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"type": "gmm", "components": 4, "shared": "maybe"}, "2: shared true false maybe"),
        ({"type": "gmm", "components": 4, "shared": 0}, "2: shared true false 0"),
        ({"type": "pooling", "kernel": [2, 2], "shared": False}, "2: shared pooling kernel stride"),
    ],
)
def test_values_that_cannot_be(layer: dict[str, Any], named: str) -> None:
    with refused(*named.split()):
        DCGMM.build(IMAGE, [FOLDING, layer])


def test_estimators_take_it() -> None:
    x = uniform(60, 24).numpy()
    arch = [FOLDING, tiles(1), {"type": "folding", "kernel": GRID}, tiles()]
    mixture = ConvolutionalGaussianMixture(image_shape=IMAGE[:2], arch=arch, epochs=60, random_state=0).fit(x)
    assert not any(gmm.shared for gmm in mixture.model_.gmms.values())
    assert np.isfinite(mixture.score_samples(x)).all()
    assert mixture.sample(5)[0].shape == (5, 24)
