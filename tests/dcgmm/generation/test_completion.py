import pytest
import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.generation.completion import Completions, inpaint
from dcgmm.generation.options import SharpeningOptions
from dcgmm.images import to_float
from dcgmm.model import DCGMM, LayerOptions, LayerType
from dcgmm.model.factor_gmm import FactorGMM
from tests.conftest import ROUNDING
from tests.dcgmm.small import SHAPE, give_factors, small_images, small_model
from tests.refusals import option_refused, refused

LEFT = torch.arange(SHAPE[1]).expand(SHAPE[:2]) < 3


def flat_model(factors: int = 0, components: int = 4) -> DCGMM:
    """One GMM layer over images of 2x3 pixels."""
    layers = [
        LayerOptions(LayerType.folding, kernel=[2, 3]),
        LayerOptions(LayerType.gmm, components=components, factors=factors),
    ]
    model, generator = DCGMM.build((2, 3, 1), layers).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        gmm = model.gmms["gmm1"]
        gmm.logits.copy_(torch.randn(gmm.logits.shape, generator=generator))
        gmm.loc.copy_(torch.rand(gmm.loc.shape, generator=generator))
        gmm.precision_sqrt.copy_(2 + 2 * torch.rand(gmm.loc.shape, generator=generator))
    if factors:
        give_factors(model)
    return model


def conditional(
    model: DCGMM,
    x: Tensor,  # (6,)
    seen: Tensor,  # (6,)
    temperature: float = 1,
) -> tuple[Tensor, Tensor]:  # (m,), (m, m)
    """Mean and covariance of what was not seen, by dense matrices."""
    gmm = model.gmms["gmm1"]
    log_weights, means, covariances = [], [], []
    for k in range(gmm.components):
        precision = gmm.precision_sqrt[k].detach().square().diag()
        if isinstance(gmm, FactorGMM):
            precision = precision - gmm.factors[k].detach() @ gmm.factors[k].detach().T
        covariance, loc = precision.inverse(), gmm.loc[k].detach()
        both, inner = covariance[~seen][:, seen], covariance[seen][:, seen]
        part = torch.distributions.MultivariateNormal(loc[seen], inner)
        log_weights.append(gmm.log_weights[k].detach() + part.log_prob(x[seen]) / temperature)
        means.append(loc[~seen] + both @ torch.linalg.solve(inner, x[seen] - loc[seen]))
        covariances.append(covariance[~seen][:, ~seen] - both @ torch.linalg.solve(inner, both.T))
    weights, mean = torch.stack(log_weights).softmax(0), torch.stack(means)
    total = (weights[:, None] * mean).sum(0)
    spread = torch.einsum("k,kij->ij", weights, torch.stack(covariances))
    between = torch.einsum("k,ki,kj->ij", weights, mean - total, mean - total)
    return total, spread + between


@pytest.mark.parametrize("factors", [0, 2])
def test_a_flat_model_s_completions_are_its_conditional_distribution(factors: int) -> None:
    model, count = flat_model(factors), 40_000
    image = torch.rand(1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = torch.tensor([[True, False, True], [False, True, False]])
    found = inpaint(model, image.expand(count, 2, 3), seen, count=1, seed=2, std_scale=1, temperature=1)
    mean, covariance = conditional(model, image.flatten(), seen.flatten())
    torch.testing.assert_close(found.mean[0].flatten()[~seen.flatten()], mean, **ROUNDING)
    draws = found.draws[0].flatten(1)[:, ~seen.flatten()]
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=4.5 * float(covariance.max() / count) ** 0.5)
    torch.testing.assert_close(draws.T.cov(), covariance, rtol=0, atol=6 * float(covariance.max()) / count**0.5)


@pytest.mark.parametrize("factors", [0, 2])
def test_the_mean_takes_a_power_of_the_likelihood_and_draws_do_not(factors: int) -> None:
    model = flat_model(factors)
    image = torch.rand(1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = torch.tensor([[True, False, True], [False, True, False]])
    plain, tempered = (inpaint(model, image, seen, count=2, seed=2, temperature=each) for each in (1, 4))
    expected, _ = conditional(model, image.flatten(), seen.flatten(), temperature=4)
    torch.testing.assert_close(tempered.mean[0].flatten()[~seen.flatten()], expected, **ROUNDING)
    assert not torch.equal(tempered.mean, plain.mean)
    assert torch.equal(tempered.draws, plain.draws)


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_what_was_seen_stays_bit_for_bit(exponent: float) -> None:
    model, images = small_model(), small_images(4)
    model.architecture.exponent = exponent
    found = inpaint(model, images, LEFT, count=2, seed=1)
    expected = to_float(images, torch.float64)
    for each in (found.mean, *found.draws):
        assert torch.equal(each[:, LEFT], expected[:, LEFT])
        assert each.isfinite().all()
        assert not torch.equal(each[:, ~LEFT], expected[:, ~LEFT])


def test_what_was_not_seen_does_not_matter_and_seeds_repeat() -> None:
    model, images = small_model(), small_images(3).double() / 255
    hidden = torch.where(LEFT[..., None], images, torch.nan)
    first, again = (inpaint(model, x, LEFT, seed=1, std_scale=1) for x in (images, hidden))
    assert torch.equal(first.mean, again.mean)
    assert torch.equal(first.draws, again.draws)
    assert not torch.equal(first.draws, inpaint(model, images, LEFT, seed=2, std_scale=1).draws)


def test_nothing_seen_is_a_draw_from_the_model() -> None:
    model = flat_model()
    nothing = torch.full((20_000, 2, 3), torch.nan)
    found = inpaint(model, nothing, torch.zeros(2, 3), count=1, seed=0, std_scale=1)
    gmm = model.gmms["gmm1"]
    expected = (gmm.log_weights.exp()[:, None] * gmm.loc).sum(0).detach()
    torch.testing.assert_close(found.mean[0].flatten(), expected, **ROUNDING)
    torch.testing.assert_close(found.draws[0].mean(0).flatten(), expected, rtol=0, atol=0.03)


def test_without_noise_the_strongest_component_s_values_are_put_in() -> None:
    model, images = flat_model(), torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(1))
    seen = torch.tensor([[True, False, True], [False, True, False]])
    found = inpaint(model, images, seen, top_s=1, std_scale=0)
    best = model.score(images, seen)["gmm1"].component_scores.argmax(-1).flatten()
    expected = model.gmms["gmm1"].loc[best].detach()
    torch.testing.assert_close(found.draws[0].flatten(1)[:, ~seen.flatten()], expected[:, ~seen.flatten()])


@pytest.mark.parametrize(
    ("field", "value"), [("count", -1), ("top_s", 0), ("std_scale", -1.0), ("factor_scale", torch.inf), ("seed", "x")]
)
def test_options_out_of_range(field: str, value: object) -> None:
    with pytest.raises(OptionError) as error:
        inpaint(small_model(), small_images(1), LEFT, **{field: value})  # type: ignore[arg-type]
    assert error.value.field == field


def test_masks_and_models_that_cannot_be() -> None:
    with option_refused("images", "none"):
        inpaint(small_model(), small_images(0), LEFT)
    with option_refused("observed", "all seen"):
        inpaint(small_model(), small_images(1), torch.ones(SHAPE[:2]))
    with refused("one", "[2]"):
        inpaint(DCGMM.side_by_side([small_model(), small_model()]), small_images(1), LEFT)
    folded = DCGMM.build((4, 4, 1), [{"type": "gmm", "components": 4}, {"type": "folding", "kernel": (2, 2)}])
    with refused("GMM", "folding1"):
        inpaint(folded, torch.zeros(1, 4, 4, 1), torch.eye(4))


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_sharpening_moves_missing_pixels_only(exponent: float) -> None:
    model, images = small_model(), small_images(4)
    model.architecture.exponent = exponent
    expected, told = to_float(images, torch.float64), list[tuple[str, int]]()

    def completed(iterations: int) -> Completions:
        options = SharpeningOptions(iterations=iterations, rate=0.5)
        report = lambda name, step: told.append((name, step))  # noqa: E731
        return inpaint(model, images, LEFT, count=2, seed=1, std_scale=1, sharpening=options, report=report)

    plain = inpaint(model, images, LEFT, count=2, seed=1, std_scale=1)
    assert torch.equal(completed(0).draws, plain.draws)
    sharpened = completed(5)
    assert torch.equal(sharpened.mean, plain.mean)
    assert len(told) == 2 * 2 * 5  # draws, Folding layers, steps
    for draw, other in zip(sharpened.draws, plain.draws, strict=True):
        assert torch.equal(draw[:, LEFT], expected[:, LEFT])
        assert draw.isfinite().all()
        assert not torch.equal(draw[:, ~LEFT], other[:, ~LEFT])


def test_sharpening_ascends_the_likelihood_of_the_completed_image() -> None:
    model, images = small_model(), small_images(4)
    values = []
    for iterations in (0, 3, 30):
        options = SharpeningOptions(iterations=iterations, rate=1.0, layers=["folding1"])
        draws = inpaint(model, images, LEFT, count=1, seed=1, std_scale=1, sharpening=options).draws[0]
        values.append(model.score_floats(draws)["gmm1"].log_prob.detach().mean((1, 2)))
    assert (values[1] > values[0]).all()
    assert (values[2] > values[1]).all()


def test_sharpening_a_flat_model_ends_where_the_gradient_of_the_missing_pixels_is_zero() -> None:
    model = flat_model(components=1)
    image, seen = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(1)), torch.eye(2, 3) > 0
    options = SharpeningOptions(iterations=200, rate=1.0)
    found = inpaint(model, image, seen, count=1, seed=2, std_scale=1, sharpening=options)
    torch.testing.assert_close(found.draws[0], found.mean, rtol=1e-6, atol=1e-6)  # one Gaussian: its mode is its mean


def test_sharpened_layers_that_cannot_be() -> None:
    with pytest.raises(OptionError) as error:
        inpaint(small_model(), small_images(1), LEFT, sharpening=SharpeningOptions(layers=["folding7"]))
    assert error.value.field == "layers"
