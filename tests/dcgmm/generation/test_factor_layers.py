"""Sampling and sharpening with factors, in one GMM layer and in several."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.generation import SamplingOptions, SharpeningOptions, sample, sharpen
from dcgmm.generation.ascent import ascent_of
from dcgmm.generation.components import greedy_sample, mean_images
from dcgmm.generation.options import Steps
from dcgmm.generation.sampling import Samples, draw
from dcgmm.generation.sharpening import sharpen_output
from dcgmm.model import DCGMM
from dcgmm.model.conditionals import covariance
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.factors import project
from dcgmm.options import made
from tests.dcgmm.generation.models import folding, spread
from tests.dcgmm.small import give_factors

POOLING = {"type": "pooling", "kernel": (2, 2)}


def gmm(components: int, factors: int | None) -> dict[str, Any]:
    return {"type": "gmm", "components": components, "factors": factors}


def flat(factors: int | None = 2) -> DCGMM:
    return give_factors(spread(DCGMM.build((3, 2, 1), [folding(3, 2, 1, 1), gmm(4, factors)])))


def deep(lower: int | None = 3, upper: int | None = 2) -> DCGMM:
    """Windows that overlap, two channels, a pooling window that juts out."""
    layers = [folding(3, 2, 2, 1), gmm(4, lower), POOLING, folding(2, 3, 1, 1), gmm(9, upper)]
    return give_factors(spread(DCGMM.build((9, 7, 2), layers)))


def pooled() -> DCGMM:
    return give_factors(spread(DCGMM.build((6, 5, 2), [folding(2, 2, 1, 1), POOLING, gmm(4, 3)])))


def layer(model: DCGMM, name: str = "gmm1") -> FactorGMM:
    found = model.gmms[name]
    assert isinstance(found, FactorGMM)
    return found


def drawn(model: DCGMM, count: int = 5, seed: int = 0, **fields: Any) -> Samples:
    return draw(model, count, made(SamplingOptions, fields), torch.Generator().manual_seed(seed))


def test_without_noise_a_sample_is_its_component_s_centroid() -> None:
    model = flat()
    samples = drawn(model, 20, std_scale=0.0, factor_scale=0.0)
    expected = layer(model).loc[samples.components["gmm1"].flatten()]
    torch.testing.assert_close(samples.images.flatten(1), expected.detach())


def test_the_two_kinds_of_noise_add_up_and_scale_apart() -> None:
    model = flat()
    none, pixel, factor = (
        drawn(model, 20, std_scale=p, factor_scale=f).images for p, f in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    both = drawn(model, 20, std_scale=0.3, factor_scale=2.0).images
    torch.testing.assert_close(both, none + 0.3 * (pixel - none) + 2 * (factor - none))
    # What factors add lies in the space of their loadings.
    samples = drawn(model, 20, std_scale=0.0, factor_scale=1.0)
    for image, centre, component in zip(samples.images, none, samples.components["gmm1"].flatten(), strict=True):
        loadings = layer(model).loadings.detach()[component]
        added = (image - centre).flatten().unsqueeze(1)
        torch.testing.assert_close(loadings @ torch.linalg.lstsq(loadings, added).solution, added)


@pytest.mark.parametrize(("pixel", "factor"), [(1.0, 1.0), (0.3, 1.0), (0.5, 0.0), (0.0, 0.7)])
def test_the_covariance_of_samples_is_the_component_s(pixel: float, factor: float) -> None:
    model, count = flat(), 100_000
    gmm = layer(model)
    with torch.no_grad():  # no longer than a sample of this size can tell
        gmm.factors.copy_(project(gmm.precision_sqrt, gmm.factors, 0.2))
    images = drawn(model, count, components="3", std_scale=pixel, factor_scale=factor).images.flatten(1)
    diagonal = gmm.precision_sqrt[3].detach().pow(-2).diag_embed()
    whole = covariance(gmm.precision_sqrt[3].detach(), gmm.factors[3].detach())
    expected = pixel**2 * diagonal + factor**2 * (whole - diagonal)
    deviation = expected.diagonal().clamp(min=1e-12).sqrt()
    error = (images.mT.cov() - expected) / (deviation[:, None] * deviation)
    assert error.abs().max() < 0.025
    assert ((images.mean(0) - gmm.loc[3]).abs() < 5 * deviation / count**0.5 + 1e-12).all()


def test_the_seed_decides_the_images() -> None:
    model = deep()
    several: tuple[dict[str, Any], ...] = ({}, {"top_s": 3, "std_scale": [0.0, 0.3], "factor_scale": 0.5})
    for fields in several:
        first = sample(model, 4, seed=1, **fields).images
        assert torch.equal(sample(model, 4, seed=1, **fields).images, first)
        assert not torch.equal(sample(model, 4, seed=2, **fields).images, first)


@pytest.mark.parametrize(("make", "tops"), [(flat, (1,)), (deep, (1, 2))], ids=["flat", "deep"])
def test_uniform_and_pixel_noise_are_those_of_the_model_without_factors(
    make: Callable[..., DCGMM], tops: tuple[int, ...]
) -> None:
    # Same parameters but for the factors: all that can differ is what the factors add.
    model, plain = make(), make(*[None] * len(tops))
    for top_s in tops:
        with_factors = drawn(model, 6, top_s=top_s, factor_scale=0.0)
        without = drawn(plain, 6, top_s=top_s)
        torch.testing.assert_close(with_factors.images, without.images)
        for name, chosen in without.components.items():
            assert torch.equal(with_factors.components[name], chosen)


def test_a_scale_for_each_layer() -> None:
    model = deep()
    one, listed = drawn(model, factor_scale=0.5).images, drawn(model, factor_scale=[0.5, 0.5]).images
    assert torch.equal(one, listed)
    only_lower = drawn(model, std_scale=0.0, factor_scale=[1.0, 0.0])
    still = drawn(model, std_scale=0.0, factor_scale=0.0)
    assert torch.equal(only_lower.components["gmm1"], still.components["gmm1"])
    assert torch.equal(only_lower.control["gmm1"], still.control["gmm1"])
    assert not torch.equal(only_lower.images, still.images)
    only_upper = drawn(model, std_scale=0.0, factor_scale=[0.0, 1.0])
    assert not torch.equal(only_upper.control["gmm1"], still.control["gmm1"])


@pytest.mark.parametrize("scale", [[1.0], [1.0, 1.0, 1.0], [], -1.0, [1.0, -1.0], "some"])
def test_scales_that_cannot_be(scale: Any) -> None:
    with pytest.raises(OptionError) as error:
        sample(deep(), 2, factor_scale=scale)
    assert (error.value.field, error.value.owner) == ("factor_scale", SamplingOptions)


def test_mean_images_and_the_greedy_sample_have_no_noise() -> None:
    model = flat()
    centroids = layer(model).loc.detach().view(4, 3, 2, 1)
    torch.testing.assert_close(mean_images(model, "gmm1"), centroids)
    torch.testing.assert_close(greedy_sample(model, 2).images[0], centroids[2])
    stacked = deep()
    first, second = (greedy_sample(stacked, 2, seed).images for seed in (0, 1))
    assert torch.equal(first, second)
    torch.testing.assert_close(mean_images(stacked, "gmm1", 0, 2), mean_images(stacked, "gmm1", 1, 2))


CASES: dict[str, Callable[[], DCGMM]] = {
    "flat": flat,
    "deep": deep,
    "factors below": lambda: deep(3, None),
    "factors above": lambda: deep(None, 2),
    "pooling below the target": pooled,
}
TRIPLES = [
    *((case, "folding1", None) for case in CASES),
    *((case, "folding1", "gmm2") for case in CASES if case not in ("flat", "pooling below the target")),
    ("deep", "folding2", None),
]


def start_at(model: DCGMM, name: str, count: int = 3) -> Tensor:
    shape = model.named_layers[name].input_shape
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize(("case", "name", "target"), TRIPLES)
def test_the_gradient_of_sharpening_is_autograds(case: str, name: str, target: str | None) -> None:
    model = CASES[case]()
    ascent, x = ascent_of(model, name, target), start_at(model, name)
    leaf = x.clone().requires_grad_()
    names, signal = list(model.named_layers), leaf
    for each in list(model.layers)[names.index(name) : names.index(ascent.target)]:
        signal = each(signal)
    value = model.gmms[ascent.target].log_prob(signal).mean((-2, -1))
    (expected,) = torch.autograd.grad(value.sum(), leaf)
    torch.testing.assert_close(ascent.log_likelihood(x), value.detach())
    torch.testing.assert_close(ascent.gradient(x), expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(("case", "name"), [*((case, "folding1") for case in CASES), ("deep", "folding2")])
def test_no_step_of_the_automatic_size_lowers_the_log_likelihood(case: str, name: str) -> None:
    model = CASES[case]()
    outcome = sharpen_output(model, name, start_at(model, name), Steps(40, rate=1.0))
    values = torch.tensor(outcome.log_likelihood, dtype=torch.float64)
    assert (values.diff() >= -1e-11).all()
    assert values[-1] > values[0]


def test_given_images_and_samples_are_sharpened() -> None:
    model = deep()
    outcome = sharpen(model, start_at(model, "folding1"), iterations=5, rate=1.0)
    assert outcome.log_likelihood[-1] > outcome.log_likelihood[0]
    plain = sample(model, 3).images
    sharp = sample(model, 3, sharpening=SharpeningOptions(iterations=3)).images
    assert not torch.equal(plain, sharp)
    assert torch.equal(sample(model, 3, sharpening=SharpeningOptions(iterations=0)).images, plain)
