from typing import Any

import pytest
import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.generation import SamplingOptions, Sharpened, SharpeningOptions, sample
from dcgmm.generation.sampling import choose_entry, draw
from dcgmm.model import DCGMM, GMM
from dcgmm.options import made
from tests.dcgmm.generation.models import awkward, flat, folding, gmm
from tests.refusals import check_option, option_refused, refused


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(model: DCGMM, count: int = 5, seed: int = 0, **fields: Any) -> Tensor:
    return draw(model, count, made(SamplingOptions, fields), seeded(seed)).images


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected).square() / expected).sum())


@pytest.mark.parametrize(("top_s", "temperature"), [(5, 1.0), (3, 1.0), (3, 0.5), (1, 2.0)])
def test_components_follow_the_control_signal(top_s: int, temperature: float) -> None:
    control = torch.tensor([0.1, 0.4, -0.3, 0.3, 0.2], dtype=torch.float64)
    number = 20_000
    uniform = torch.rand(number, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = choose_entry(control.expand(number, -1), uniform, top_s, temperature)
    counts = torch.bincount(chosen, minlength=5).double()
    weights = control.clamp(min=0).pow(1 / temperature)
    weights[control.argsort(descending=True)[top_s:]] = 0
    allowed = weights > 0
    assert counts[~allowed].sum() == 0
    # 99.9% point of chi-square with at most 3 degrees of freedom.
    assert chi_square(counts[allowed], (weights / weights.sum())[allowed]) < 16.27


def test_a_signal_without_a_positive_entry_gives_its_strongest() -> None:
    control = torch.tensor([[-3.0, -1.0, -2.0], [0.0, 0.0, 0.0], [-1.0, 0.0, -1.0]])
    assert choose_entry(control, torch.full((3,), 0.9, dtype=torch.float64), 3)[0::2].tolist() == [1, 1]


def test_the_start_draws_from_the_mixture_weights() -> None:
    model = flat()
    chosen = draw(model, 20_000, SamplingOptions(), seeded()).components["gmm1"]
    counts = torch.bincount(chosen.flatten(), minlength=4).double()
    assert chi_square(counts, model.gmms["gmm1"].log_weights.exp().detach()) < 16.27


def test_the_start_can_be_uniform_cycled_or_fixed() -> None:
    model = flat()

    def components(choice: str, count: int) -> Tensor:
        return draw(model, count, SamplingOptions(components=choice), seeded()).components["gmm1"].flatten()

    counts = torch.bincount(components("uniform", 20_000), minlength=4).double()
    assert chi_square(counts, torch.full((4,), 0.25, dtype=torch.float64)) < 16.27
    assert components("cycle", 6).tolist() == [0, 1, 2, 3, 0, 1]
    assert components("2", 3).tolist() == [2, 2, 2]


def test_mean_and_variance_of_a_flat_mixture_are_its_parameters() -> None:
    model = flat()
    layer = model.gmms["gmm1"]
    number, scale = 40_000, 0.5
    images = drawn(model, number, components="3", std_scale=scale).flatten(1)
    std = scale / layer.precision_sqrt[3]
    assert ((images.mean(0) - layer.loc[3]).abs() < 5 * std / number**0.5).all()
    assert torch.allclose(images.std(0), std, rtol=0.03)
    # The mixture as a whole, by the law of total variance.
    weights, variance = layer.log_weights.exp()[:, None], layer.precision_sqrt.pow(-2)
    mean = (weights * layer.loc).sum(0)
    total = (weights * (variance + layer.loc.square())).sum(0) - mean.square()
    mixed = drawn(model, number).flatten(1)
    assert ((mixed.mean(0) - mean).abs() < 5 * total.sqrt() / number**0.5).all()
    assert torch.allclose(mixed.var(0), total, rtol=0.05)


def test_without_noise_a_sample_is_the_folded_centroids_of_its_components() -> None:
    model = awkward()
    samples = draw(model, 4, SamplingOptions(top_s=2, std_scale=0.0), seeded())
    assert {name: tuple(value.shape) for name, value in samples.components.items()} == {
        "gmm2": (4, 1, 1),
        "gmm1": (4, 4, 6),
    }
    fold, lower = model.layers[0], model.gmms["gmm1"]
    assert isinstance(lower, GMM)
    expected = fold.downward(lower.loc[samples.components["gmm1"]])  # type: ignore[operator]
    assert torch.allclose(samples.images, expected)
    # gmm1's components are among the two strongest of the control signal that is kept.
    strongest = samples.control["gmm1"].topk(2).indices
    assert (strongest == samples.components["gmm1"][..., None]).any(-1).all()


def test_seed_and_options_decide_the_images() -> None:
    model = awkward()
    assert torch.equal(drawn(model), drawn(model))
    assert not torch.equal(drawn(model), drawn(model, seed=1))
    # Scaled noise is the same noise, so the picks above stay and the images differ in proportion.
    still, half, full = (drawn(model, components="1", start="gmm1", std_scale=scale) for scale in (0.0, 0.5, 1.0))
    assert torch.allclose(half - still, (full - still) / 2)
    assert torch.equal(drawn(model, std_scale=(0.0, 1.0)), drawn(model, std_scale=[0.0, 1.0]))
    assert not torch.equal(drawn(model, std_scale=(0.0, 1.0)), drawn(model, std_scale=1.0))


def test_refine_sees_every_folding_layer_from_above() -> None:
    seen = []

    def refine(name: str, signal: Tensor) -> Tensor:
        seen.append((name, tuple(signal.shape)))
        return torch.zeros_like(signal)

    images = draw(awkward(), 2, SamplingOptions(), seeded(), refine).images
    assert seen == [("folding2", (2, 2, 3, 4)), ("folding1", (2, 9, 7, 2))]
    assert images.abs().sum() == 0


def test_with_an_exponent_the_same_draws_are_other_pixels() -> None:
    plain, model, options = awkward(), awkward(exponent=0.5), SamplingOptions(top_s=2)
    first, second = (draw(each, 5, options, seeded()) for each in (plain, model))
    torch.testing.assert_close(second.images, first.images.clamp(min=0).square())
    assert all(torch.equal(first.components[name], second.components[name]) for name in first.components)


def test_refining_is_done_to_what_the_lowest_layer_sees() -> None:
    def refine(name: str, signal: Tensor) -> Tensor:
        return torch.full_like(signal, 0.5) if name == "folding1" else signal

    images = draw(awkward(exponent=0.5), 2, SamplingOptions(), seeded(), refine).images
    torch.testing.assert_close(images, torch.full_like(images, 0.25))


OPTIONS = pytest.mark.parametrize(
    ("fields", "value", "allowed"),
    [
        ({"top_s": 0}, 0, [1]),
        ({"top_s": 5}, 5, [4, "gmm1"]),
        ({"top_s": 10, "start": "gmm1"}, 10, [4, "gmm1"]),
        ({"std_scale": -1.0}, -1.0, [0]),
        ({"std_scale": (1.0, -1.0)}, (1.0, -1.0), [0]),
        ({"std_scale": ()}, (), [0]),
        ({"std_scale": (1.0, 1.0, 1.0)}, [1.0, 1.0, 1.0], [2]),
        ({"temperature": 0.0}, 0.0, [0]),
        ({"start": "gmm3"}, "gmm3", ["gmm1", "gmm2"]),
        ({"start": "folding1"}, "folding1", ["gmm1", "gmm2"]),
        ({"components": "some"}, "some", ["weights", "uniform", "cycle"]),
        ({"components": "9"}, "9", [0, 8, "gmm2"]),
    ],
)


@OPTIONS
def test_options_that_cannot_be(fields: dict[str, Any], value: object, allowed: list[object]) -> None:
    with pytest.raises(OptionError) as error:
        drawn(awkward(), **fields)
    check_option(error.value, next(iter(fields)), value, *allowed)
    assert error.value.owner is SamplingOptions


@OPTIONS
def test_keywords_are_these_options(fields: dict[str, Any], value: object, allowed: list[object]) -> None:
    with option_refused(next(iter(fields)), value, *allowed):
        sample(awkward(), 3, **fields)


def test_models_that_cannot_be_sampled() -> None:
    pooled = DCGMM.build((4, 4, 1), [folding(2, 2, 2, 2), gmm(4), {"type": "pooling", "kernel": (2, 2)}])
    with option_refused("start", "null: the model's last layer is a pooling layer", "gmm1"):
        drawn(pooled)
    assert drawn(pooled, start="gmm1").shape == (5, 4, 4, 1)
    side_by_side = DCGMM.build((3, 2, 1), [folding(3, 2, 1, 1), gmm(4)], batch_shape=(2,))
    with refused("one", "[2]"):
        drawn(side_by_side)


@pytest.mark.parametrize("count", [0, -1])
def test_counts_that_cannot_be(count: int) -> None:
    for call in (lambda: sample(flat(), count), lambda: drawn(flat(), count)):
        with option_refused("count", count, 1):
            call()


def test_sample_is_draw_from_the_seed_s_noise() -> None:
    model = awkward()
    expected = draw(model, 4, SamplingOptions(top_s=3, std_scale=0.5), seeded(7))
    given = sample(model, 4, top_s=3, std_scale=0.5, seed=7)
    assert torch.equal(given.images, expected.images)
    assert torch.equal(sample(model, 4, options=SamplingOptions(3, 0.5), seed=7).images, expected.images)
    both = sample(model, 4, options=SamplingOptions(3, 0.2), seed=7, std_scale=0.5)  # the keyword goes before
    assert torch.equal(both.images, expected.images)
    assert not torch.equal(sample(model, 4, top_s=3, std_scale=0.5).images, expected.images)
    assert torch.equal(sample(model, 4).images, sample(model, 4, seed=0).images)
    for name, control in expected.control.items():
        assert torch.equal(given.control[name], control)
    assert not given.images.requires_grad


def test_neither_the_global_generator_nor_the_model_are_touched() -> None:
    model, before = awkward(), torch.get_rng_state()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    sample(model, 3, sharpening=SharpeningOptions(iterations=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_an_unknown_keyword_is_refused_by_name() -> None:
    known = ["top_s", "std_scale", "factor_scale", "temperature", "start", "components"]
    with option_refused("SamplingOptions", "tops", *known):
        sample(flat(), 3, tops=2)
    with pytest.raises(OptionError):
        sample(flat(), 3, options=SamplingOptions(), tops=2)


def test_sample_sharpens_where_it_is_told_to() -> None:
    model, steps = awkward(), []
    outcomes: dict[str, list[Sharpened]] = {}
    plain = sample(model, 4).images
    sharpening = SharpeningOptions(iterations=3)
    sharp = sample(
        model, 4, sharpening=sharpening, outcomes=outcomes, report=lambda name, done: steps.append((name, done))
    ).images
    assert list(outcomes) == ["folding2", "folding1"]
    assert steps == [(name, done) for name in ("folding2", "folding1") for done in (1, 2, 3)]
    assert not torch.equal(sharp, plain)
    assert torch.equal(sample(model, 4, sharpening=sharpening).images, sharp)
    assert torch.equal(sample(model, 4, sharpening=SharpeningOptions(iterations=0)).images, plain)


def test_sharpening_of_samples_is_the_architecture_s_by_default() -> None:
    model = awkward()
    model.architecture.sharpening.iterations, model.architecture.sharpening.layers = 4, ["folding1"]
    outcomes: dict[str, list[Sharpened]] = {}
    sample(model, 2, sharpening=SharpeningOptions(), outcomes=outcomes)
    assert list(outcomes) == ["folding1"]
    assert outcomes["folding1"][0].iterations == [0, 1, 2, 3, 4]


def test_samples_go_to_another_device_whole() -> None:
    samples = sample(awkward(), 2).to("meta")
    parts = [samples.images, *samples.components.values(), *samples.control.values()]
    assert {part.device.type for part in parts} == {"meta"}


def test_given_weights_take_the_place_of_the_start_layer_s() -> None:
    model = flat()
    own = model.gmms["gmm1"].log_weights.exp().detach().expand(2000, 1, 1, 4)
    assert torch.equal(sample(model, 2000, weights=own).images, sample(model, 2000).images)
    given = torch.tensor([0.2, 0.0, 0.5, 0.3], dtype=torch.float64).expand(2000, 1, 1, 4)
    counts = sample(model, 2000, weights=given).components["gmm1"].flatten().bincount(minlength=4).double()
    assert counts[1] == 0
    allowed = torch.tensor([0, 2, 3])
    assert chi_square(counts[allowed], given[0, 0, 0, allowed]) < 13.82  # 99.9% point, 2 degrees of freedom


def test_weights_that_do_not_fit_the_start_layer() -> None:
    with option_refused("weights", (3, 4), (3, 1, 1, 4)):
        sample(flat(), 3, weights=torch.ones(3, 4))
    with option_refused("components", "uniform", "weights"):
        sample(flat(), 3, weights=torch.ones(3, 1, 1, 4), components="uniform")
