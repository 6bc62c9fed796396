import math
from typing import Any

import pytest
import torch

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM, AnnealingRule, Folding, GMMOptions, Pooling, Rates, Shape

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


def deep() -> DCGMM:
    model = DCGMM.build((7, 8, 3), DEEP, GMMOptions(loc_range=1.0, precision_sqrt_start="unit"))
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
    assert list(built.gmms) == ["gmm1", "gmm2"]


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
    assert (GMM(Shape(1, 1, 3), 4, GMMOptions(precision_sqrt_start="unit")).precision_sqrt == 1).all()


def test_precision_stays_within_its_limits() -> None:
    gmm = GMM(Shape(1, 1, 3), 4, GMMOptions(precision_limit=4.0, precision_sqrt_min=0.1))
    gmm.draw_start(torch.Generator().manual_seed(0))
    x = 100 * torch.randn(20, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    rate = torch.tensor(1.0)
    for data, limit in ((x, 0.1), (torch.zeros_like(x), 2.0)):
        for _ in range(50):
            _, gradient = gmm.objective(gmm.score(data), None)
            gmm.ascend(gradient, Rates(0 * rate, 0 * rate, rate))
        assert ((gmm.precision_sqrt - limit).abs() < 1e-6).any()
        assert ((gmm.precision_sqrt >= 0.1 - 1e-6) & (gmm.precision_sqrt <= 2.0 + 1e-6)).all()


def test_an_ascent_step_raises_the_objective() -> None:
    model, x = deep(), images(50)
    gmm = model.gmms["gmm1"]
    patches = model.layers[0](x)
    value, gradient = gmm.objective(gmm.score(patches), None)
    rate = torch.tensor(1e-3, dtype=torch.float64)
    gmm.ascend(gradient, Rates(rate, rate, rate))
    after, _ = gmm.objective(gmm.score(patches), None)
    assert after > value


def test_models_side_by_side_equal_each_alone() -> None:
    together = DCGMM.build((7, 8, 3), DEEP, batch_shape=(2,)).double()
    alone = []
    for seed in range(2):
        model = DCGMM.build((7, 8, 3), DEEP, GMMOptions(loc_range=1.0)).double()
        model.draw_start(torch.Generator().manual_seed(seed))
        alone.append(model)
    with torch.no_grad():
        for name, gmm in together.gmms.items():
            for key in ("logits", "loc", "precision_sqrt"):
                getattr(gmm, key).copy_(torch.stack([getattr(model.gmms[name], key) for model in alone]))
    x = images()
    scored = together.score(x.expand(2, *x.shape))
    for model, apart in zip(alone, together.alone(), strict=True):
        assert apart.batch_shape == ()
        for name, value in apart.state_dict().items():
            assert torch.equal(value, model.state_dict()[name])
            assert value.untyped_storage().size() == value.nbytes  # a copy of its own part, and of no more
    for number, model in enumerate(alone):
        for name, expected in model.score(x).items():
            torch.testing.assert_close(scored[name].component_scores[number], expected.component_scores)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            THREE_A_AS_PRINTED,
            r"layer 7, Folding\(6, 6\): the window does not fit its 5x5 input; a kernel of at most 5x5",
        ),
        ([{"type": "gmm", "components": 24}], r"layer 1, GMM\(24\): components must be a square number.* 16 or 25 is"),
        ([{"type": "gmm"}], "components is missing"),
        ([{"type": "gmm", "components": 4, "kernel": [1, 1]}], "kernel is not for this type, which takes components"),
        ([{"type": "dense", "components": 4}], "the type must be one of folding, pooling, power, gmm"),
        ([{"components": 4}], "the type must be one of folding, pooling, power, gmm"),
        ([{"type": "power"}, {"type": "gmm", "components": 4}], "layer 1, Power.*: exponent is missing"),
        ([{"type": "power", "exponent": 0.0}], r"layer 1, Power\(0.0\): exponent must be a positive number"),
        (
            [{"type": "gmm", "components": 4}, {"type": "power", "exponent": 0.5}],
            "layer 2: a Power layer takes pixels and must be the first layer",
        ),
        ([{"type": "folding", "kernel": [2, 2]}], "a model needs at least one GMM layer"),
        ([], "a model needs at least one GMM layer"),
    ],
)
def test_impossible_stacks(layers: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DCGMM.build((28, 28, 1), layers)


def test_over_a_power_layer_the_model_is_one_of_other_pixels() -> None:
    plain = deep()
    model = DCGMM.build((7, 8, 3), [{"type": "power", "exponent": 0.5}, *DEEP]).double()
    model.load_state_dict({f"layers.{int(name[7]) + 1}{name[8:]}": v for name, v in plain.state_dict().items()})
    x = images()
    for name, scored in plain.score(x.sqrt()).items():
        torch.testing.assert_close(model.score(x)[name].component_scores, scored.component_scores)
    torch.testing.assert_close(model.pixel_values(x.sqrt()), x)
    assert torch.equal(plain.pixel_values(x), x)


def test_neighbours_must_fit() -> None:
    with pytest.raises(UserError, match="layer 2 takes 3x3x9, the layer under it gives 2x2x9"):
        DCGMM([Folding(Shape(6, 6, 1), (3, 3), (3, 3)), GMM(Shape(3, 3, 9), 4)])


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match="the model takes images of 7x8x3, not 8x7x3"):
        deep().score(images().transpose(1, 2))


@pytest.mark.parametrize(
    "change",
    [{"loc_range": -1.0}, {"precision_limit": 0.0}, {"precision_sqrt_min": 5.0}, {"precision_sqrt_start": "big"}],
)
def test_options_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        GMMOptions(**change)


def test_every_architecture_can_reach_the_end_of_annealing_in_25_epochs_of_mnist() -> None:
    rule = AnnealingRule(50, 0.01, 0.05, 0.01, 0.05, 0.9)
    assert max(rule.minimal_steps(components) for components in (25, 36, 49)) < 25 * 600
