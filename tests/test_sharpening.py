from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM
from dcgmm_cli.sampling import SamplingOptions, layer_names, sample
from dcgmm_cli.sharpening import Sharpened, SharpeningOptions, ascent_of, largest_curvature, sharpen, sharpener
from tests.test_sampling import awkward, folding, gmm, spread

POOLED_INPUT = [folding(2, 2, 1, 1), {"type": "pooling", "kernel": (3, 2), "stride": (2, 1)}, gmm(4)]
WIDE_INPUT = [folding(3, 2, 2, 3), gmm(4)]
CASES: dict[str, Callable[[], DCGMM]] = {
    "awkward": awkward,
    "pooling below the target": lambda: spread(DCGMM.build((6, 5, 2), POOLED_INPUT)),
    "many channels, pixels that no window reaches": lambda: spread(DCGMM.build((8, 7, 9), WIDE_INPUT)),
    "no overlap": lambda: spread(DCGMM.build((4, 6, 1), [folding(2, 3, 2, 3), gmm(4), folding(2, 2, 1, 1), gmm(4)])),
}
TRIPLES = [
    ("awkward", "folding1", None),
    ("awkward", "folding1", "gmm2"),
    ("awkward", "folding2", None),
    ("pooling below the target", "folding1", None),
    ("many channels, pixels that no window reaches", "folding1", None),
    ("no overlap", "folding1", "gmm1"),
    ("no overlap", "folding1", "gmm2"),
]


def start_at(model: DCGMM, name: str, count: int = 3) -> Tensor:
    layer = model.layers[layer_names(model).index(name)]
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, *layer.input_shape, generator=generator, dtype=torch.float64)  # type: ignore[misc]


def upward(model: DCGMM, name: str, target: str, x: Tensor) -> Tensor:
    """L* by the layers' own upward operations."""
    names = layer_names(model)
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
    outcome = sharpen(model, name, x, SharpeningOptions(40, rate=1.0, target=target))
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
    outcome = sharpen(model, "folding1", x, SharpeningOptions(steps, step, penalty=penalty))
    precision, loc = layer.precision_sqrt.square().view(2, 2, 1), layer.loc.view(2, 2, 1)
    fixed = (precision * loc + penalty * x) / (precision + penalty)
    expected = fixed + (x - fixed) * (1 - step * (precision + penalty)) ** steps
    assert torch.allclose(outcome.signal, expected)


def test_samples_do_not_depend_on_their_batch() -> None:
    model = awkward()
    x, options = start_at(model, "folding1"), SharpeningOptions(10)
    together = sharpen(model, "folding1", x, options).signal
    alone = torch.cat([sharpen(model, "folding1", each[None], options).signal for each in x])
    assert torch.allclose(together, alone)


def test_a_penalty_keeps_near_the_start() -> None:
    model = awkward()
    x = start_at(model, "folding1")
    free, bound = (sharpen(model, "folding1", x, SharpeningOptions(50, penalty=p)).signal for p in (0.0, 5.0))
    assert (bound - x).norm() < 0.5 * (free - x).norm()


def test_sampling_sharpens_the_chosen_layers_only() -> None:
    model = awkward()

    def images(options: SharpeningOptions, outcomes: dict[str, list[Sharpened]]) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return sample(model, 6, SamplingOptions(), generator, sharpener(model, options, outcomes)).images

    every: dict[str, list[Sharpened]] = {}
    images(SharpeningOptions(5), every)
    assert list(every) == ["folding2", "folding1"]
    assert {name: each[0].target for name, each in every.items()} == {"folding2": "gmm2", "folding1": "gmm1"}
    one: dict[str, list[Sharpened]] = {}
    images(SharpeningOptions(5, layers=("folding1",)), one)
    assert list(one) == ["folding1"]
    nothing: dict[str, list[Sharpened]] = {}
    assert torch.equal(
        images(SharpeningOptions(0), nothing),
        sample(model, 6, SamplingOptions(), torch.Generator().manual_seed(0)).images,
    )


def attempt(model: DCGMM, name: str, options: dict) -> None:
    given = SharpeningOptions(400, **options)
    sharpener(model, given, {})
    sharpen(model, name, start_at(model, "folding2" if name == "folding2" else "folding1"), given)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("folding3", {}, "folding3 is no Folding layer"),
        ("folding2", {"target": "gmm1"}, "sharpening.target=gmm1 is not above folding2; choose gmm2"),
        ("folding1", {"step_size": 1e3}, "sharpening diverged at folding1"),
        ("folding1", {"step_size": 0.0}, "step_size must be above 0"),
        ("folding1", {"rate": 2.0}, "rate must lie between 0 and 2"),
        ("folding1", {"penalty": -1.0}, "penalty must be at least 0"),
        ("folding1", {"layers": ("folding9",)}, "the model has no folding9"),
    ],
)
def test_options_that_cannot_be(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        attempt(awkward(), name, options)


def test_a_folding_layer_without_a_gmm_layer_above_cannot_be_sharpened() -> None:
    model = DCGMM.build((4, 4, 1), [folding(2, 2, 2, 2), gmm(4), folding(2, 2, 1, 1)])
    with pytest.raises(UserError, match="there is no GMM layer above folding2"):
        ascent_of(model, "folding2")
