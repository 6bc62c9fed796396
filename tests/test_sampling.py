import pytest
import torch
from torch import Tensor

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM
from dcgmm_cli.sampling import SamplingOptions, choose_entry, layer_names, sample


def folding(*sizes: int) -> dict:
    return {"type": "folding", "kernel": sizes[:2], "stride": sizes[2:]}


def gmm(components: int) -> dict:
    return {"type": "gmm", "components": components}


def spread(model: DCGMM, seed: int = 0) -> DCGMM:
    """The model with parameters that are all different, in float64."""
    generator = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for layer in model.gmms.values():
            layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator, dtype=torch.float64))
            layer.loc.copy_(torch.rand(layer.loc.shape, generator=generator, dtype=torch.float64))
            layer.precision_sqrt.copy_(1 + 3 * torch.rand(layer.loc.shape, generator=generator, dtype=torch.float64))
    return model


# Not square, two channels, unequal strides, a pooling window that juts out.
AWKWARD = [folding(3, 2, 2, 1), gmm(4), {"type": "pooling", "kernel": (2, 2)}, folding(2, 3, 1, 1), gmm(9)]


def awkward() -> DCGMM:
    return spread(DCGMM.build((9, 7, 2), AWKWARD))


def flat(components: int = 4) -> DCGMM:
    return spread(DCGMM.build((3, 2, 1), [folding(3, 2, 1, 1), gmm(components)]))


def draw(model: DCGMM, count: int = 5, seed: int = 0, **options: object) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sample(model, count, SamplingOptions(**options), generator).images  # type: ignore[arg-type]


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected).square() / expected).sum())


@pytest.mark.parametrize(("top_s", "temperature"), [(5, 1.0), (3, 1.0), (3, 0.5), (1, 2.0)])
def test_components_follow_the_control_signal(top_s: int, temperature: float) -> None:
    control = torch.tensor([0.1, 0.4, -0.3, 0.3, 0.2], dtype=torch.float64)
    number = 20_000
    uniform = torch.rand(number, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = choose_entry(control.expand(number, -1), uniform, top_s, temperature)
    counts = torch.bincount(drawn, minlength=5).double()
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
    drawn = sample(model, 20_000, SamplingOptions(), torch.Generator().manual_seed(0)).components["gmm1"]
    counts = torch.bincount(drawn.flatten(), minlength=4).double()
    assert chi_square(counts, model.gmms["gmm1"].log_weights.exp().detach()) < 16.27


def test_the_start_can_be_uniform_cycled_or_fixed() -> None:
    model = flat()

    def components(choice: str, count: int) -> Tensor:
        options = SamplingOptions(components=choice)
        return sample(model, count, options, torch.Generator().manual_seed(0)).components["gmm1"].flatten()

    counts = torch.bincount(components("uniform", 20_000), minlength=4).double()
    assert chi_square(counts, torch.full((4,), 0.25, dtype=torch.float64)) < 16.27
    assert components("cycle", 6).tolist() == [0, 1, 2, 3, 0, 1]
    assert components("2", 3).tolist() == [2, 2, 2]


def test_mean_and_variance_of_a_flat_mixture_are_its_parameters() -> None:
    model = flat()
    layer = model.gmms["gmm1"]
    number, scale = 40_000, 0.5
    images = draw(model, number, components="3", std_scale=scale).flatten(1)
    std = scale / layer.precision_sqrt[3]
    assert ((images.mean(0) - layer.loc[3]).abs() < 5 * std / number**0.5).all()
    assert torch.allclose(images.std(0), std, rtol=0.03)
    # The mixture as a whole, by the law of total variance.
    weights, variance = layer.log_weights.exp()[:, None], layer.precision_sqrt.pow(-2)
    mean = (weights * layer.loc).sum(0)
    total = (weights * (variance + layer.loc.square())).sum(0) - mean.square()
    mixed = draw(model, number).flatten(1)
    assert ((mixed.mean(0) - mean).abs() < 5 * total.sqrt() / number**0.5).all()
    assert torch.allclose(mixed.var(0), total, rtol=0.05)


def test_without_noise_a_sample_is_the_folded_centroids_of_its_components() -> None:
    model = awkward()
    samples = sample(model, 4, SamplingOptions(top_s=2, std_scale=0.0), torch.Generator().manual_seed(0))
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
    assert torch.equal(draw(model), draw(model))
    assert not torch.equal(draw(model), draw(model, seed=1))
    # Scaled noise is the same noise, so the picks above stay and the images differ in proportion.
    still, half, full = (draw(model, components="1", start="gmm1", std_scale=scale) for scale in (0.0, 0.5, 1.0))
    assert torch.allclose(half - still, (full - still) / 2)
    assert torch.equal(draw(model, std_scale=(0.0, 1.0)), draw(model, std_scale=(0.0, 1.0)))
    assert not torch.equal(draw(model, std_scale=(0.0, 1.0)), draw(model, std_scale=1.0))


def test_refine_sees_every_folding_layer_from_above() -> None:
    seen = []

    def refine(name: str, signal: Tensor) -> Tensor:
        seen.append((name, tuple(signal.shape)))
        return torch.zeros_like(signal)

    images = sample(awkward(), 2, SamplingOptions(), torch.Generator().manual_seed(0), refine).images
    assert seen == [("folding2", (2, 2, 3, 4)), ("folding1", (2, 9, 7, 2))]
    assert images.abs().sum() == 0


def test_over_a_power_layer_the_same_draws_are_other_pixels() -> None:
    plain, options = awkward(), SamplingOptions(top_s=2)
    model = DCGMM.build((9, 7, 2), [{"type": "power", "exponent": 0.5}, *AWKWARD]).double()
    model.load_state_dict({f"layers.{int(name[7]) + 1}{name[8:]}": v for name, v in plain.state_dict().items()})
    first, second = (sample(each, 5, options, torch.Generator().manual_seed(0)) for each in (plain, model))
    torch.testing.assert_close(second.images, first.images.clamp(min=0).square())
    assert all(torch.equal(first.components[name], second.components[name]) for name in first.components)


def test_layer_names() -> None:
    assert layer_names(awkward()) == ["folding1", "gmm1", "pooling1", "folding2", "gmm2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_s": 0}, "top_s must be at least 1"),
        ({"top_s": 5}, "top_s=5 is more than the 4 components of gmm1"),
        ({"std_scale": -1.0}, "std_scale must be"),
        ({"std_scale": (1.0, 1.0, 1.0)}, "3 values for 2 GMM layers"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"start": "gmm3"}, "start=gmm3 names no GMM layer of the model; it has gmm1, gmm2"),
        ({"components": "some"}, "components=some is unknown"),
        ({"components": "9"}, "sampling.components=9 is not in gmm2, which has 0 to 8"),
    ],
)
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(awkward(), **options)


def test_models_that_cannot_be_sampled() -> None:
    pooled = DCGMM.build((4, 4, 1), [folding(2, 2, 2, 2), gmm(4), {"type": "pooling", "kernel": (2, 2)}])
    with pytest.raises(UserError, match=r"last layer is a Pooling layer: give sampling\.start, gmm1"):
        draw(pooled)
    assert draw(pooled, start="gmm1").shape == (5, 4, 4, 1)
    side_by_side = DCGMM.build((3, 2, 1), [folding(3, 2, 1, 1), gmm(4)], batch_shape=(2,))
    with pytest.raises(UserError, match="one model"):
        draw(side_by_side)
    with pytest.raises(UserError, match="count must be at least 1"):
        draw(flat(), 0)
