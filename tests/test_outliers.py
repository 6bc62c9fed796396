import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dcgmm_cli.localisation import at_pixels, pixel_maps
from dcgmm_cli.model import DCGMM, GMM
from dcgmm_cli.outliers import (
    COMBINED,
    JOINT,
    LAYER_SCORES,
    MODEL_SCORES,
    PIXELS,
    RATIO,
    RESIDUAL,
    SMOOTHING,
    Detector,
    log_ratio,
    standardise,
)
from dcgmm_cli.pixel_mixture import PixelSums
from dcgmm_cli.statistics import Moments

LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": (4, 4), "stride": (2, 2)},
    {"type": "gmm", "components": 4},
    {"type": "pooling", "kernel": (2, 2)},
    {"type": "folding", "kernel": (2, 2)},
    {"type": "gmm", "components": 9},
]


def images(count: int, seed: int) -> Tensor:  # (N, 16, 16, 1)
    """Noisy images of two blurred kinds: bright above or bright below."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0.2, 0.8, 16, dtype=torch.float64).view(1, 16, 1, 1)
    upside_down = torch.arange(count).remainder(2).view(-1, 1, 1, 1).bool()
    noise = torch.randn(count, 16, 16, 1, generator=generator, dtype=torch.float64) * 0.05
    return (torch.where(upside_down, ramp, 1 - ramp) + noise).clamp(0, 1)


@pytest.fixture(scope="module")
def detector() -> Detector:
    model = DCGMM.build((16, 16, 1), LAYERS).double()
    generator = torch.Generator().manual_seed(1)
    x = images(50, 3)
    with torch.no_grad():
        for layer in model.layers:
            if isinstance(layer, GMM):  # centroids: inputs that occur
                inputs = x.flatten(0, 2)
                layer.loc.copy_(inputs[torch.randperm(len(inputs), generator=generator)[: layer.components]])
            x = layer(x)
    return Detector.fit(model, images(400, 0), 150)


@pytest.mark.parametrize("c", [-1.0, 0.0, 0.7, 2.0])
def test_thresholds_cut_known_gaussians_at_their_quantiles(c: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([[1.0, -300.0]]), torch.tensor([[0.5, 40.0]])
    draws = torch.randn(40_000, 1, 2, generator=generator) * std + mean
    kept = (standardise(draws, Moments.of(draws)) >= -c).double().mean((0, 1))
    expected = 0.5 * (1 + math.erf(c / math.sqrt(2)))
    assert kept.tolist() == pytest.approx([expected, expected], abs=0.01)


def test_a_position_that_never_varies_does_not_drown_the_others() -> None:
    values = torch.randn(100, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:, 0, 0] = 3.0
    moments = Moments.of(values)
    standard = standardise(torch.tensor([[[3.0, 0.0]], [[3.0 + 1e-12, 0.0]], [[4.0, 0.0]]]).double(), moments)
    assert standard[0, 0, 0] == 0
    assert abs(standard[1, 0, 0]) < 1e-9
    assert standard[2, 0, 0] > 20
    assert standardise(torch.ones(2, 1, 1), Moments.of(torch.ones(5, 1, 1))).tolist() == [[[0.0]], [[0.0]]]


def test_scores_are_what_they_are_called(detector: Detector) -> None:
    x = images(5, 1)
    report = detector.report(x)
    scored = detector.model.score(x)
    for name, layer in scored.items():
        assert torch.allclose(
            report.scores[f"{name}_log_prob"], layer.component_scores.exp().sum(-1).log().mean((1, 2))
        )
        assert torch.allclose(report.scores[f"{name}_max_component"], layer.component_scores.amax(-1).mean((1, 2)))
        assert torch.allclose(report.scores[f"{name}_standardised"], report.maps[name].mean((1, 2)))
    assert detector.name_of("log_prob") == "gmm2_log_prob"
    assert detector.name_of("combined") == COMBINED


def test_residual_is_that_of_a_quadratic_fit_and_combined_the_worse_of_it_and_the_top(detector: Detector) -> None:
    train, new = detector.scores(images(400, 0)), detector.scores(images(30, 1))
    lower, top = (
        [detector.standardised(name, part[name]).numpy() for part in (train, new)]
        for name in ("gmm1_standardised", "gmm2_standardised")
    )
    fit = np.polynomial.Polynomial.fit(lower[0], top[0], 2)
    left, expected = top[0] - fit(lower[0]), top[1] - fit(lower[1])
    assert np.allclose(new[RESIDUAL].numpy(), expected, atol=1e-9)
    assert np.allclose(new[COMBINED].numpy(), np.minimum(top[1], expected / left.std()), atol=1e-9)
    assert 0 < (top[1] < expected / left.std()).mean() < 1


def test_joint_is_the_worse_of_the_top_and_the_ratio(detector: Detector) -> None:
    new = detector.scores(images(30, 1))
    top, ratio = (detector.standardised(name, new[name]) for name in ("gmm2_standardised", RATIO))
    assert torch.allclose(new[JOINT], torch.minimum(top, ratio), atol=1e-9)
    assert 0 < (top < ratio).double().mean() < 1


def test_pixels_are_those_of_a_mixture_with_the_top_components(detector: Detector) -> None:
    sums, training, new = PixelSums(), images(400, 0), images(30, 1)
    with torch.no_grad():
        sums.add(training, detector.model.score(training)["gmm2"])
    expected = sums.mixture(torch.float64).log_prob(new)
    assert torch.allclose(detector.scores(new)[PIXELS], expected, rtol=1e-9)
    upside_down = torch.cat([new[0::2, :8], new[0::2, :8]], 1)  # dark and bright where no training image is
    assert detector.scores(upside_down)[PIXELS].max() < detector.scores(new)[PIXELS].min()


def test_ratio_is_that_of_two_densities() -> None:
    """The image under mixture weights that the top layer sets patch by patch, against one mixture for all patches."""
    model = DCGMM.build(
        (4, 4, 1),
        [
            {"type": "folding", "kernel": (2, 2), "stride": (2, 2)},
            {"type": "gmm", "components": 4},
            {"type": "folding", "kernel": (2, 2)},
            {"type": "gmm", "components": 9},
        ],
    ).double()
    lower, top = model.gmms.values()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        top.logits.copy_(torch.randn(9, generator=generator))
        top.loc.copy_(torch.rand(9, 16, generator=generator) * 1.2 - 0.2)
        lower.loc.copy_(torch.rand(4, 4, generator=generator))
        lower.precision_sqrt.fill_(2.0)
        expected = top.loc.view(9, 4, 4).clamp(min=0)
        expected = expected / expected.sum(2, keepdim=True)
        overall = torch.einsum("k,kpj->j", top.logits.softmax(0), expected) / 4
        lower.logits.copy_(overall.log())
    expected = (1 - SMOOTHING) * expected + SMOOTHING * overall

    x = torch.rand(6, 4, 4, 1, generator=generator, dtype=torch.float64)
    corners = x.view(6, 2, 2, 2, 2).transpose(2, 3).reshape(6, 1, 4, 4)  # patch by patch
    gaussians = Independent(Normal(lower.loc, 1 / lower.precision_sqrt), 1)
    told = MixtureSameFamily(Categorical(expected), gaussians.expand((9, 4, 4))).log_prob(corners).sum(2)
    untold = MixtureSameFamily(Categorical(overall), gaussians).log_prob(corners).sum((1, 2))
    with torch.no_grad():
        ratio = log_ratio(top, 4, model.score(x)["gmm2"].patches)
        assert ratio.shape == (6, 1, 1)
        assert torch.allclose(ratio.flatten(), (told + top.log_weights).logsumexp(1) - untold)


def test_usual_parts_in_an_unusual_order_have_a_low_ratio(detector: Detector) -> None:
    usual = images(20, 1)
    mixed = torch.cat([usual[0::2, :, :8], usual[1::2, :, 8:]], 2)  # bright above on the left, below on the right
    assert detector.scores(mixed)[RATIO].max() < detector.scores(usual)[RATIO].min()


def test_scores_of_a_single_layer_are_its_standardised_score() -> None:
    model = DCGMM.build((16, 16, 1), LAYERS[:2]).double()
    detector = Detector.fit(model, images(60, 0))
    scores = detector.scores(images(9, 1))
    expected = detector.standardised("gmm1_standardised", scores["gmm1_standardised"])
    for name in (RESIDUAL, COMBINED, RATIO, JOINT):
        assert torch.allclose(detector.standardised(name, scores[name]), expected, atol=1e-9)
    assert {*(f"gmm1_{name}" for name in LAYER_SCORES), *MODEL_SCORES} == set(scores)


def test_training_scores_have_mean_0_and_deviation_1(detector: Detector) -> None:
    scores = detector.scores(images(400, 0), 64)
    for name, values in scores.items():
        standard = detector.standardised(name, values)
        assert float(standard.mean()) == pytest.approx(0, abs=1e-9)
        assert float(standard.std(correction=0)) == pytest.approx(1, abs=1e-9)
        kept = values >= detector.threshold(name, 0.5)
        assert torch.equal(kept, standard >= -0.5)


def test_batches_do_not_matter(detector: Detector) -> None:
    other = Detector.fit(detector.model, images(400, 0), 37)
    assert other.images.keys() == detector.images.keys()
    for name, moments in detector.images.items():
        assert float(other.images[name].mean) == pytest.approx(float(moments.mean), rel=1e-12, abs=1e-12)
        assert float(other.images[name].variance) == pytest.approx(float(moments.variance), rel=1e-9)
    whole, parts = detector.scores(images(50, 1), 50), detector.scores(images(50, 1), 7)
    assert all(torch.allclose(whole[name], parts[name], rtol=1e-12) for name in whole)


def test_state_brings_the_detector_back(detector: Detector) -> None:
    again = Detector.from_state(detector.model, detector.state_dict())
    first, second = detector.scores(images(20, 1)), again.scores(images(20, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.threshold(COMBINED, 1.5) == detector.threshold(COMBINED, 1.5)


def test_damage_shows_where_it_was_done(detector: Detector) -> None:
    whole = images(6, 2)
    damaged = whole.clone()
    damaged[:, 9:13, 2:6] = 0.0
    damaged[:, 10:12, 3:5] = 1.0
    square = torch.zeros(16, 16, dtype=torch.bool)
    square[9:13, 2:6] = True

    before, after = detector.report(whole), detector.report(damaged)
    for name in detector.layers:
        change = pixel_maps(detector.model, name, after.maps[name] - before.maps[name])
        assert change[:, square].mean() < -1
        assert change[:, square].mean() < 3 * change[:, ~square].mean()
    # A window of the lowest layer reaches at most 3 pixels beyond the square.
    near = torch.zeros(16, 16, dtype=torch.bool)
    near[6:16, 0:9] = True
    change = pixel_maps(detector.model, "gmm1", after.maps["gmm1"] - before.maps["gmm1"])
    assert change[:, ~near].abs().max() == 0
    cells = at_pixels(detector.model, "gmm1", after.maps["gmm1"])
    for worst in cells.flatten(1).argmin(1).tolist():
        assert near.flatten()[worst]

    lowest = f"{detector.layers[0]}_standardised"
    assert (after.scores[lowest] < before.scores[lowest]).all()
