from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation import SamplingOptions, Sharpened, SharpeningOptions, sharpen
from dcgmm.generation.ascent import ascent_of, largest_curvature
from dcgmm.generation.options import Steps
from dcgmm.generation.sampling import draw
from dcgmm.generation.sharpening import sharpen_output, sharpened_layers, sharpener
from dcgmm.model import DCGMM
from tests.conftest import ROUNDING
from tests.dcgmm.generation.models import awkward, folding, gmm, spread
from tests.dcgmm.small import give_factors
from tests.refusals import check_option, option_refused, refused

POOLED_INPUT = [folding(2, 2, 1, 1), {"type": "pooling", "kernel": (3, 2), "stride": (2, 1)}, gmm(4)]
OWN = {"shared": False, "factors": 2}
WIDE_INPUT = [folding(3, 2, 2, 3), gmm(4)]
CASES: dict[str, Callable[[], DCGMM]] = {
    "awkward": awkward,
    "pooling below the target": lambda: spread(DCGMM.build((6, 5, 2), POOLED_INPUT)),
    "many channels, pixels that no window reaches": lambda: spread(DCGMM.build((8, 7, 9), WIDE_INPUT)),
    "parameters for each position": lambda: give_factors(
        spread(DCGMM.build((9, 7, 2), [folding(3, 2, 2, 1), gmm(4) | OWN, folding(2, 3, 1, 1), gmm(9) | OWN]))
    ),
    "no overlap": lambda: spread(DCGMM.build((4, 6, 1), [folding(2, 3, 2, 3), gmm(4), folding(2, 2, 1, 1), gmm(4)])),
}
TRIPLES = [
    ("awkward", "folding1", None),
    ("awkward", "folding1", "gmm2"),
    ("awkward", "folding2", None),
    ("pooling below the target", "folding1", None),
    ("many channels, pixels that no window reaches", "folding1", None),
    ("parameters for each position", "folding1", None),
    ("parameters for each position", "folding1", "gmm2"),
    ("no overlap", "folding1", "gmm1"),
    ("no overlap", "folding1", "gmm2"),
]


def start_at(model: DCGMM, name: str, count: int = 3) -> Tensor:
    shape = model.named_layers[name].input_shape
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def upward(model: DCGMM, name: str, target: str, x: Tensor) -> Tensor:
    """L* by the layers' own upward operations."""
    names = list(model.named_layers)
    for layer in list(model.layers)[names.index(name) : names.index(target)]:
        x = layer(x)
    return model.gmms[target].log_prob(x).mean((-2, -1))


@pytest.mark.parametrize(("case", "name", "target"), TRIPLES)
def test_the_gradient_is_autograds(case: str, name: str, target: str | None) -> None:
    model = CASES[case]()
    ascent, x = ascent_of(model, name, target), start_at(model, name)
    leaf = x.clone().requires_grad_()
    value = upward(model, name, ascent.target, leaf)
    (expected,) = torch.autograd.grad(value.sum(), leaf)
    assert torch.allclose(ascent.log_likelihood(x), value.detach(), rtol=1e-12)
    assert torch.allclose(ascent.gradient(x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("case", "name", "target"), [each for each in TRIPLES if each[2] in (None, "gmm1")])
def test_no_step_of_the_automatic_size_lowers_the_log_likelihood(case: str, name: str, target: str | None) -> None:
    model = CASES[case]()
    x = start_at(model, name)
    outcome = sharpen_output(model, name, x, Steps(40, rate=1.0, target=target))
    assert outcome.iterations == list(range(41))
    values = torch.tensor(outcome.log_likelihood)
    assert (values.diff() >= -1e-12).all()
    assert values[-1] > values[0]


def test_the_curvature_bounds_the_hessian() -> None:
    for case, name in (("awkward", "folding1"), ("awkward", "folding2"), ("pooling below the target", "folding1")):
        model = CASES[case]()
        ascent, x = ascent_of(model, name), start_at(model, name, 1)
        hessian = torch.autograd.functional.hessian(
            lambda point, m=model, n=name, t=ascent.target: upward(m, n, t, point).sum(), x
        )
        assert isinstance(hessian, Tensor)
        assert torch.linalg.eigvalsh(hessian.reshape(x.numel(), -1)).min() >= -ascent.curvature * (1 + 1e-9)
    # One Gaussian under windows that tile: the bound is reached.
    single = spread(DCGMM.build((4, 4, 1), [folding(2, 2, 2, 2), gmm(1)]))
    assert largest_curvature(single, "folding1") == pytest.approx(
        single.gmms["gmm1"].precision_sqrt.detach().max().item() ** 2 / 4
    )


def test_one_gaussian_is_relaxed_by_the_closed_formula() -> None:
    model = spread(DCGMM.build((2, 2, 1), [folding(2, 2, 1, 1), gmm(1)]))
    layer, x, step, penalty, steps = model.gmms["gmm1"], start_at(model, "folding1"), 0.02, 0.7, 25
    outcome = sharpen_output(model, "folding1", x, Steps(steps, step, penalty=penalty))
    precision, loc = layer.precision_sqrt.square().view(2, 2, 1), layer.loc.view(2, 2, 1)
    fixed = (precision * loc + penalty * x) / (precision + penalty)
    expected = fixed + (x - fixed) * (1 - step * (precision + penalty)) ** steps
    assert torch.allclose(outcome.signal, expected)


def test_samples_do_not_depend_on_their_batch() -> None:
    model = awkward()
    x, steps = start_at(model, "folding1"), Steps(10)
    together = sharpen_output(model, "folding1", x, steps).signal
    alone = torch.cat([sharpen_output(model, "folding1", each[None], steps).signal for each in x])
    assert torch.allclose(together, alone)


def test_a_penalty_keeps_near_the_start() -> None:
    model = awkward()
    x = start_at(model, "folding1")
    free, bound = (sharpen_output(model, "folding1", x, Steps(50, penalty=p)).signal for p in (0.0, 5.0))
    assert (bound - x).norm() < 0.5 * (free - x).norm()


def test_sampling_sharpens_the_chosen_layers_only() -> None:
    model = awkward()

    def images(steps: Steps, outcomes: dict[str, list[Sharpened]]) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return draw(model, 6, SamplingOptions(), generator, sharpener(model, steps, outcomes)).images

    every: dict[str, list[Sharpened]] = {}
    images(Steps(5), every)
    assert list(every) == ["folding2", "folding1"]
    assert {name: each[0].target for name, each in every.items()} == {"folding2": "gmm2", "folding1": "gmm1"}
    one: dict[str, list[Sharpened]] = {}
    images(Steps(5, layers=("folding1",)), one)
    assert list(one) == ["folding1"]
    nothing: dict[str, list[Sharpened]] = {}
    assert torch.equal(
        images(Steps(0), nothing),
        draw(model, 6, SamplingOptions(), torch.Generator().manual_seed(0)).images,
    )


@pytest.mark.parametrize(
    ("name", "steps", "field", "value", "allowed"),
    [
        ("folding3", Steps(1), "layers", "folding3", ["folding1", "folding2"]),
        ("folding2", Steps(1, target="gmm1"), "target", "gmm1", ["folding2", "gmm2"]),
        ("folding1", Steps(1, target="gmm9"), "target", "gmm9", ["folding1", "gmm1", "gmm2"]),
    ],
)
def test_layers_that_cannot_be(name: str, steps: Steps, field: str, value: str, allowed: list[str]) -> None:
    with pytest.raises(OptionError) as error:
        sharpen_output(awkward(), name, start_at(awkward(), "folding1"), steps)
    check_option(error.value, field, value, *allowed)
    assert error.value.owner is SharpeningOptions


def test_layers_are_chosen_before_any_image_is_drawn() -> None:
    model = awkward()
    assert sharpened_layers(model, Steps(1)) == ["folding1", "folding2"]
    assert sharpened_layers(model, Steps(1, layers=("folding2",))) == ["folding2"]
    assert sharpened_layers(model, Steps(1, layers=())) == []
    with option_refused("layers", "folding9", "folding1", "folding2"):
        sharpener(model, Steps(1, layers=("folding9",)), {})
    with option_refused("target", "gmm1", "gmm2"):
        sharpener(model, Steps(1, target="gmm1"), {})


def test_steps_that_diverge() -> None:
    model = awkward()
    x = start_at(model, "folding1")
    with pytest.raises(
        InputError, match=r"^sharpening diverged at folding1: step_size=1000 is too large, below \S+ is"
    ):
        sharpen_output(model, "folding1", x, Steps(400, step_size=1e3))


def test_a_folding_layer_without_a_gmm_layer_above_cannot_be_sharpened() -> None:
    model = DCGMM.build((4, 4, 1), [folding(2, 2, 2, 2), gmm(4), folding(2, 2, 1, 1)])
    with refused("folding2"):
        ascent_of(model, "folding2")


def test_every_step_is_reported() -> None:
    model, told = awkward(), []
    sharpen_output(model, "folding1", start_at(model, "folding1"), Steps(3), lambda *given: told.append(given))
    assert told == [("folding1", 1), ("folding1", 2), ("folding1", 3)]


def test_a_long_curve_has_about_fifty_points_and_its_ends() -> None:
    model = awkward()
    outcome = sharpen_output(model, "folding1", start_at(model, "folding1"), Steps(130))
    assert outcome.iterations[0] == 0
    assert outcome.iterations[-1] == 130
    assert 40 < len(outcome.iterations) == len(outcome.log_likelihood) < 80


def images(model: DCGMM, count: int = 3) -> Tensor:
    return start_at(model, "folding1", count)


def test_given_images_are_sharpened_at_the_lowest_folding_layer() -> None:
    model = awkward()
    x = images(model)
    outcome = sharpen(model, x, iterations=7, step_size=0.01)
    expected = sharpen_output(model, "folding1", x, Steps(7, step_size=0.01))
    assert torch.equal(outcome.signal, expected.signal)
    assert (outcome.target, outcome.step_size, outcome.iterations) == ("gmm1", 0.01, list(range(8)))
    assert outcome.log_likelihood == expected.log_likelihood
    assert outcome.log_likelihood[-1] > outcome.log_likelihood[0]
    by_options = sharpen(model, x, options=SharpeningOptions(iterations=7, step_size=0.01))
    assert torch.equal(by_options.signal, outcome.signal)
    by_both = sharpen(model, x, options=SharpeningOptions(iterations=3, step_size=0.01), iterations=7)
    assert torch.equal(by_both.signal, outcome.signal)
    higher = sharpen(model, x, target="gmm2", iterations=2)
    assert higher.target == "gmm2"


def test_given_images_take_the_architecture_s_steps_but_not_its_layers() -> None:
    model = awkward()
    preset = model.architecture.sharpening
    preset.iterations, preset.rate, preset.layers = 4, 0.3, ["folding2"]
    x = images(model)
    expected = sharpen_output(model, "folding1", x, Steps(4, rate=0.3))
    assert torch.equal(sharpen(model, x).signal, expected.signal)


def test_with_an_exponent_given_images_are_sharpened_as_the_lowest_layer_sees_them() -> None:
    plain, model = awkward(), awkward(exponent=0.5)
    x = images(model)
    outcome, expected = sharpen(model, x, iterations=5), sharpen(plain, x.sqrt(), iterations=5)
    torch.testing.assert_close(outcome.signal, expected.signal.clamp(min=0).square(), **ROUNDING)
    assert outcome.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-12)
    torch.testing.assert_close(sharpen(model, x, iterations=0).signal, x, **ROUNDING)


def test_bytes_arrays_and_images_without_channels_are_sharpened_alike() -> None:
    model = DCGMM.build((4, 6, 1), [folding(2, 3, 2, 3), gmm(4)])
    pixels = torch.randint(0, 256, (3, 4, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = sharpen(model, (pixels / 255).unsqueeze(-1), iterations=3).signal
    kept = pixels.clone()
    for same in (pixels, pixels.numpy(), pixels.double() / 255):
        torch.testing.assert_close(sharpen(model, same, iterations=3).signal, expected)
    assert torch.equal(pixels, kept)
    floats = (pixels / 255).unsqueeze(-1)
    kept = floats.clone()
    sharpen(model, floats, iterations=3)
    assert torch.equal(floats, kept)


def test_given_images_that_cannot_be_sharpened() -> None:
    model = awkward()
    x = images(model)
    for fields, field in (
        ({"layers": ["folding2"]}, "layers"),
        ({"target": "gmm9"}, "target"),
        ({"step": 0.1}, "SharpeningOptions"),
        ({"rate": 2.0}, "rate"),
    ):
        with pytest.raises(OptionError) as error:
            sharpen(model, x, **fields)
        assert error.value.field == field
    for wrong in (x[..., :1], x + 1, x * torch.nan):
        with pytest.raises(OptionError) as error:
            sharpen(model, wrong)
        assert error.value.field == "images"
    with refused("folding1", "gmm1"):
        sharpen(DCGMM.build((4, 4, 1), [gmm(4)]), torch.zeros(1, 4, 4, 1))


def test_no_images_and_names_of_no_layer() -> None:
    model, x = awkward(), torch.zeros(0, *awkward().input_shape)
    with option_refused("images", "none", "one"):
        sharpen(model, x)
    with option_refused("layers", "folding9", "folding1", "folding2"):
        sharpen(model, torch.zeros(1, *awkward().input_shape), layers=["folding9", "folding1"])
    with option_refused("layers", "folding1", "list"):
        sharpen(model, torch.zeros(1, *awkward().input_shape), layers="folding1")
