import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dcgmm
from dcgmm.errors import OptionError
from dcgmm.model import (
    DCGMM,
    GMM,
    Architecture,
    Folding,
    GMMOptions,
    LayerOptions,
    LayerType,
    Pooling,
    Rates,
    Shape,
    SharpeningPreset,
    stack,
)
from dcgmm.model.options import Start
from dcgmm.training.layer import annealing_rule
from dcgmm.training.options import TrainerOptions
from tests.conftest import ROUNDING
from tests.dcgmm.small import small_images, small_model
from tests.refusals import option_refused, refused

DEEP: list[dict[str, Any]] = [
    {"type": "folding", "kernel": (3, 2), "stride": (1, 2)},
    {"type": "gmm", "components": 9},
    {"type": "pooling", "kernel": (2, 2)},
    {"type": "folding", "kernel": (2, 2)},
    {"type": "gmm", "components": 4},
]
THREE_A_AS_PRINTED: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [3, 3]},
    {"type": "gmm", "components": 25},
    {"type": "pooling", "kernel": [2, 2]},
    {"type": "folding", "kernel": [4, 4]},
    {"type": "gmm", "components": 25},
    {"type": "pooling", "kernel": [2, 2]},
    {"type": "folding", "kernel": [6, 6]},
    {"type": "gmm", "components": 49},
]


def described(layers: list[dict[str, Any]], exponent: float = 1.0) -> Architecture:
    return Architecture(layers, exponent=exponent)  # type: ignore[arg-type]  # mappings become layers


def deep(exponent: float = 1.0) -> DCGMM:
    options = GMMOptions(loc_range=1.0, precision_sqrt_start=Start.unit)
    model = DCGMM.build((7, 8, 3), described(DEEP, exponent), options)
    model.draw_start(torch.Generator().manual_seed(0))
    return model.double()


def images(samples: int = 5) -> torch.Tensor:
    return torch.rand(samples, 7, 8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_stack_by_hand_equals_built_stack() -> None:
    shape = Shape(7, 8, 3)
    layers: list[Folding | Pooling | GMM] = [Folding(shape, (3, 2), (1, 2))]
    layers.append(GMM(layers[-1].output_shape, 9))
    layers.append(Pooling(layers[-1].output_shape, (2, 2)))
    layers.append(Folding(layers[-1].output_shape, (2, 2)))
    layers.append(GMM(layers[-1].output_shape, 4))
    by_hand, built = DCGMM(layers).double(), deep()
    by_hand.load_state_dict(built.state_dict())
    x = images()
    assert torch.equal(by_hand(x), built(x))
    assert str(by_hand.architecture) == str(built.architecture) == "F(3,2,1,2) G(9) P(2,2) F(2,2,1,1) G(4)"


def test_layers_by_name() -> None:
    model = deep()
    assert list(model.named_layers) == ["folding1", "gmm1", "pooling1", "folding2", "gmm2"]
    assert list(model.named_layers.values()) == list(model.layers)
    assert list(model.gmms) == ["gmm1", "gmm2"]
    assert list(model.foldings) == ["folding1", "folding2"]
    assert model.input_shape == (7, 8, 3)
    assert model.foldings["folding2"] is model.layers[3]


def test_a_model_knows_its_architecture() -> None:
    given = described(DEEP, 0.5)
    given.name, given.sharpening = "deep", SharpeningPreset(3, 0.1, ["folding2"])
    model = DCGMM.build((7, 8, 3), given)
    assert (model.architecture.name, model.exponent) == ("deep", 0.5)
    assert model.architecture.sharpening == given.sharpening
    # What a layer of the list leaves open is written out.
    assert str(model.architecture) == "x^0.5 F(3,2,1,2) G(9) P(2,2) F(2,2,1,1) G(4)"
    assert DCGMM.build((7, 8, 3), model.architecture).architecture == model.architecture
    listed = DCGMM.build((7, 8, 3), [LayerOptions(LayerType.gmm, components=4)]).architecture
    assert (listed.name, listed.exponent, listed.sharpening) == ("custom", 1.0, SharpeningPreset())


def test_scores_by_layer_and_position() -> None:
    model, x = deep(), images()
    scored = model.score(x)
    first, second = model.gmms.values()
    patches = model.layers[0](x)
    torch.testing.assert_close(scored["gmm1"].log_prob, first.log_prob(patches))
    assert scored["gmm1"].log_prob.shape == (5, *first.output_shape[:2])
    assert scored["gmm1"].responsibilities.shape == (5, *first.output_shape)
    torch.testing.assert_close(scored["gmm1"].responsibilities.sum(-1), torch.ones_like(scored["gmm1"].log_prob))
    upward = model.layers[3](model.layers[2](first(patches)))
    torch.testing.assert_close(scored["gmm2"].max_component_score, second.max_component_score(upward))
    torch.testing.assert_close(model.log_prob(x), scored["gmm2"].log_prob.mean((-2, -1)))
    assert (scored["gmm2"].max_component_score <= scored["gmm2"].log_prob).all()
    torch.testing.assert_close(model(x), scored["gmm2"].responsibilities)
    torch.testing.assert_close(second.component_scores(upward), scored["gmm2"].component_scores)


def test_start_values() -> None:
    gmm = GMM(Shape(2, 2, 30), 25)
    gmm.draw_start(torch.Generator().manual_seed(0))
    assert gmm.loc.abs().max() <= 0.01
    assert float(gmm.loc.detach().std()) == pytest.approx(0.01 / math.sqrt(3), rel=0.1)
    torch.testing.assert_close(gmm.log_weights.exp(), torch.full((25,), 1 / 25))
    assert (gmm.precision_sqrt == math.sqrt(20)).all()
    unit = GMMOptions(precision_sqrt_start=Start.unit)
    assert (GMM(Shape(1, 1, 3), 4, unit).precision_sqrt == 1).all()


def test_precision_stays_within_its_limits() -> None:
    gmm = GMM(Shape(1, 1, 3), 4, GMMOptions(precision_limit=4.0, precision_sqrt_min=0.1))
    gmm.draw_start(torch.Generator().manual_seed(0))
    x = 100 * torch.randn(20, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    rate = torch.tensor(1.0)
    for data, limit in ((x, 0.1), (torch.zeros_like(x), 2.0)):
        for _ in range(50):
            _, gradient = gmm.objective(gmm.score(data), None)
            gmm.ascend(gradient, Rates(0 * rate, 0 * rate, rate, rate))
        assert ((gmm.precision_sqrt - limit).abs() < 1e-6).any()
        assert ((gmm.precision_sqrt >= 0.1 - 1e-6) & (gmm.precision_sqrt <= 2.0 + 1e-6)).all()


def test_an_ascent_step_raises_the_objective() -> None:
    model, x = deep(), images(50)
    gmm = model.gmms["gmm1"]
    patches = model.layers[0](x)
    value, gradient = gmm.objective(gmm.score(patches), None)
    rate = torch.tensor(1e-3, dtype=torch.float64)
    gmm.ascend(gradient, Rates(rate, rate, rate, rate))
    after, _ = gmm.objective(gmm.score(patches), None)
    assert after > value


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_models_side_by_side_equal_each_alone(exponent: float) -> None:
    together = DCGMM.build((7, 8, 3), described(DEEP, exponent), batch_shape=(2,)).double()
    alone = []
    for seed in range(2):
        model = DCGMM.build((7, 8, 3), described(DEEP, exponent), GMMOptions(loc_range=1.0)).double()
        model.draw_start(torch.Generator().manual_seed(seed))
        alone.append(model)
    with torch.no_grad():
        for name, gmm in together.gmms.items():
            for key in ("logits", "loc", "precision_sqrt"):
                getattr(gmm, key).copy_(torch.stack([getattr(model.gmms[name], key) for model in alone]))
    x = images()
    scored = together.score(x.expand(2, *x.shape))
    log_prob = together.log_prob(x.expand(2, *x.shape))
    for model, apart in zip(alone, together.alone(), strict=True):
        assert apart.batch_shape == ()
        assert apart.architecture == model.architecture
        for name, value in apart.state_dict().items():
            assert torch.equal(value, model.state_dict()[name])
            assert value.untyped_storage().size() == value.nbytes  # a copy of its own part, and of no more
    for number, model in enumerate(alone):
        torch.testing.assert_close(log_prob[number], model.log_prob(x))
        for name, expected in model.score(x).items():
            torch.testing.assert_close(scored[name].component_scores[number], expected.component_scores)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        (THREE_A_AS_PRINTED, "7 F(6,6,1,1): 5x5"),
        ([{"type": "gmm", "components": 24}], "1 G(24): components 16 25 24"),
        ([{"type": "gmm", "components": 0}], "1: components 1 0"),
        ([{"type": "gmm", "components": "25"}], "1: components 1 25"),
        ([{"type": "gmm"}], "1: gmm components"),
        ([{"type": "gmm", "components": 4, "kernel": [1, 1]}], "1: kernel gmm components"),
        ([{"type": "gmm", "components": 4}, {"type": "folding", "kernel": 7}], "2: kernel 2 7"),
        ([{"type": "dense", "components": 4}], "1: type folding pooling gmm dense"),
        ([{"components": 4}], "1: type given"),
        ([{"type": "gmm", "component": 4}], "1: LayerOptions type components component"),
        ([{"type": "folding", "kernel": [2, 2]}], "GMM F(2,2,1,1)"),
        ([], "GMM none"),
    ],
)
def test_impossible_stacks(layers: list[dict[str, Any]], named: str) -> None:
    with refused(*named.split()):
        DCGMM.build((28, 28, 1), layers)


@pytest.mark.parametrize("shape", [(28, 28), (28, 0, 1), (28.0, 28, 1), ()])
def test_impossible_shapes_of_images(shape: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError) as error:
        DCGMM.build(shape, DEEP)
    assert error.value.field == "input_shape"


@pytest.mark.parametrize("exponent", [0.5, 2.5])
def test_with_an_exponent_the_model_is_one_of_other_pixels(exponent: float) -> None:
    plain, model = deep(), deep(exponent)
    x = images()
    for name, scored in plain.score(x**exponent).items():
        torch.testing.assert_close(model.score(x)[name].component_scores, scored.component_scores)
    torch.testing.assert_close(model(x), plain(x**exponent))
    torch.testing.assert_close(model.log_prob(x), plain.log_prob(x**exponent))


def test_values_that_the_lowest_layer_sees_and_pixel_values_are_inverse() -> None:
    x = torch.tensor([-0.5, 0.0, 1e-30, 0.25, 1.0, 4.0], dtype=torch.float64)
    model = deep(0.5)
    assert model.seen_values(x).tolist() == pytest.approx([0, 0, 1e-15, 0.5, 1, 2], rel=1e-12, abs=1e-150)
    assert model.pixel_values(x).tolist() == pytest.approx([0, 0, 1e-60, 0.0625, 1, 16], rel=1e-12, abs=1e-150)
    for exponent in (0.3, 2.5):
        model = deep(exponent)
        torch.testing.assert_close(model.pixel_values(model.seen_values(images())), images(), **ROUNDING)
        torch.testing.assert_close(model.seen_values(model.pixel_values(images())), images(), **ROUNDING)
    # Without an exponent values stay what they are: a Gaussian knows no range of pixels.
    assert torch.equal(deep().seen_values(x), x)
    assert torch.equal(deep().pixel_values(x), x)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 2.5])
def test_gradients_reach_dark_pixels_through_an_exponent(exponent: float) -> None:
    x = images(2)
    x[0] = 0  # where the derivative of a root is infinite
    model = deep(exponent).float()
    dark = x.float().requires_grad_()
    model.log_prob(dark).sum().backward()
    assert dark.grad is not None
    assert dark.grad.isfinite().all()
    bright = images(2).clamp(min=0.1).requires_grad_()
    assert torch.autograd.gradcheck(deep(exponent).log_prob, (bright,))


@pytest.mark.parametrize("exponent", [0.0, -1.0, math.inf, math.nan])
def test_impossible_exponents(exponent: float) -> None:
    gmm = GMM(Shape(2, 2, 1), 4)
    for make in (lambda: DCGMM([gmm], exponent=exponent), lambda: described(DEEP, exponent)):
        with pytest.raises(OptionError) as error:
            make()
        assert error.value.field == "exponent"


def test_neighbours_must_fit() -> None:
    with refused("layer 2", "3x3x9", "2x2x9"):
        DCGMM([Folding(Shape(6, 6, 1), (3, 3), (3, 3)), GMM(Shape(3, 3, 9), 4)])


CALLS: dict[str, Callable[[DCGMM, Any], Any]] = {
    "score": lambda model, images: model.score(images),
    "log_prob": lambda model, images: model.log_prob(images),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "wrong",
    [
        images().transpose(1, 2),
        images()[0, 0],
        images()[..., :1],
        images()[..., 0],  # (N, H, W) is of one channel
        images() + 0.5,
        torch.where(images() < 0.1, torch.nan, images()),
        images().long(),
        images().tolist(),
    ],
    ids=["shape", "dimensions", "channels", "no channels", "range", "NaN", "type", "list"],
)
def test_images_that_the_model_does_not_take(call: Callable[[DCGMM, Any], Any], wrong: Any) -> None:
    with pytest.raises(OptionError) as error:
        call(deep(), wrong)
    assert error.value.field == "images"


def test_shapes_are_named() -> None:
    with option_refused("images", (5, 8, 7, 3), "(N, 7, 8, 3)"):
        deep().score(images().transpose(1, 2))


def test_log_prob_has_a_gradient_where_the_images_want_one_only() -> None:
    model, x = deep(), images()
    assert not model.log_prob(x).requires_grad
    wanted = x.clone().requires_grad_()
    value = model.log_prob(wanted)
    assert value.requires_grad
    torch.testing.assert_close(value.detach(), model.log_prob(x), **ROUNDING)
    value.sum().backward()
    assert wanted.grad is not None
    assert wanted.grad.abs().max() > 0
    with torch.no_grad():
        assert not model.log_prob(wanted).requires_grad
    together = DCGMM.side_by_side([model, model])
    assert not together.log_prob(x.expand(2, *x.shape)).requires_grad


def test_log_prob_in_batches_is_that_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = deep(), images(11)
    whole = model.log_prob(x)
    assert model.batch_size == 200
    monkeypatch.setattr(stack, "BATCH_SIZE", 4)
    assert model.batch_size == 4
    torch.testing.assert_close(model.log_prob(x), whole, **ROUNDING)
    monkeypatch.setattr(stack, "BATCH_BYTES", 1)
    assert model.batch_size == 1
    torch.testing.assert_close(model.log_prob(x), whole, **ROUNDING)


def test_images_are_scored_in_batches_that_a_fixed_amount_of_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of an image 7 8 3 values, and 5 4 9 and 2 1 4 scores, in float64.
    monkeypatch.setattr(stack, "BATCH_BYTES", 3 * 8 * (7 * 8 * 3 + 5 * 4 * 9 + 2 * 1 * 4))
    model = deep()
    assert model.batch_size == 3
    assert model.float().batch_size == 6
    # On a GPU it is a part of all that it has, with no further limit.
    monkeypatch.setattr(DCGMM, "device", torch.device("cuda"))
    monkeypatch.setattr(stack, "memory_of", lambda device: 10**9)
    assert model.batch_size == 10**9 // 32 // model.image_bytes > 200


def test_a_batch_s_memory_does_not_grow_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = deep(), []
    score_floats = model.score_floats

    def watched(x: torch.Tensor) -> Any:
        sizes.append(len(x))
        return score_floats(x)

    monkeypatch.setattr(model, "score_floats", watched)
    monkeypatch.setattr(stack, "BATCH_SIZE", 4)
    model.log_prob(images(10))
    assert sizes == [4, 4, 2]


def test_bytes_arrays_and_images_without_channels_are_taken() -> None:
    model = DCGMM.build((4, 5, 1), [{"type": "gmm", "components": 4}])
    model.draw_start(torch.Generator().manual_seed(0))
    pixels = torch.randint(0, 256, (6, 4, 5, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    floats = pixels.float() / 255
    expected = model.log_prob(floats)
    assert expected.shape == (6,)
    for same in (pixels, pixels[..., 0], pixels.numpy(), floats[..., 0], floats.double(), floats.double().numpy()):
        torch.testing.assert_close(model.log_prob(same), expected)
        torch.testing.assert_close(
            model.score(same)["gmm1"].component_scores, model.score(floats)["gmm1"].component_scores
        )
    assert model.log_prob(pixels[:0]).shape == (0,)
    assert model.log_prob(floats.double()).dtype is torch.float32


def test_every_architecture_can_reach_the_end_of_annealing_in_25_epochs_of_mnist() -> None:
    rule = annealing_rule(TrainerOptions())
    assert max(rule.minimal_steps(components) for components in (25, 36, 49)) < 25 * 600


def test_log_prob_of_an_architecture_by_name() -> None:
    model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
    assert model.log_prob(torch.zeros(3, 28, 28)).shape == (3,)


def test_models_side_by_side_score_images_of_each_and_no_masks() -> None:
    model = DCGMM.build((4, 4, 1), [LayerOptions(LayerType.gmm, components=4)], batch_shape=(3,))
    x = torch.zeros(3, 2, 4, 4, 1)
    assert model.score(x)["gmm1"].log_prob.shape == (3, 2, 4, 4)
    for wrong in (x[0], x[:2], x[..., :3, :], x.numpy()):
        with pytest.raises(OptionError) as caught:
            model.score(wrong)
        assert caught.value.field == "images"
    with pytest.raises(OptionError) as caught:
        model.score(x, observed=torch.ones(2, 4, 4))
    assert caught.value.field == "observed"
    x[1, 0] = torch.nan
    assert model.score(x)["gmm1"].log_prob.isnan().any(-1).any(-1).nonzero().tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_16_bits_are_refused_before_anything_comes_of_them(dtype: torch.dtype, tmp_path: Path) -> None:
    model, images = small_model().to(dtype), small_images(4)
    for use in (
        lambda: model.log_prob(images),
        lambda: dcgmm.sample(model, 2),
        lambda: dcgmm.fit(model, images, steps=1, batch_size=2),
        lambda: dcgmm.Detector.fit(model, images),
        lambda: dcgmm.save(model, tmp_path / "model.pt"),
    ):
        with refused("float32", "float64", str(dtype).removeprefix("torch.")):
            use()
