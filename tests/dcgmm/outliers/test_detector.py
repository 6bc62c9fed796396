import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dcgmm.errors import OptionError
from dcgmm.model import DCGMM, GMM, Architecture
from dcgmm.options import made
from dcgmm.outliers import Detector
from dcgmm.outliers.localisation import at_pixels, pixel_maps
from dcgmm.outliers.moments import Moments, standardise
from dcgmm.outliers.options import LAYER_SCORES, MODEL_SCORES
from dcgmm.outliers.pixels import PixelSums
from dcgmm.outliers.ratio import SMOOTHING, log_ratio
from tests.dcgmm.small import small_images, small_model
from tests.refusals import option_refused, refused

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


def test_pooled_positions_have_one_mean_and_deviation_and_the_detector_knows_no_places() -> None:
    model, given, new = small_model(), small_images(30), small_images(6, 1)
    detector = Detector.fit(model, given, 7, pooled=True)
    for name, scored in model.score(given).items():
        values = scored.log_prob.detach().double()
        moments = detector.positions[name]
        assert (moments.count, moments.mean.shape) == (values.numel(), (1, 1))
        assert float(moments.mean) == pytest.approx(float(values.mean()))
        assert float(moments.variance) == pytest.approx(float(values.var(correction=0)))
    assert detector.names == [name for name in Detector.fit(model, given).names if name != "pixels"]
    assert {"joint", "worst_region", "auto"} <= detector.scores(new).keys()
    again = Detector.from_state(model, detector.state_dict())
    assert again.pixels is None
    for name, scores in detector.scores(new).items():
        assert torch.equal(again.scores(new)[name], scores), name
    # Through a mask positions differ.
    left = torch.arange(7).expand(9, 7) < 3
    assert detector.seen_through(given, left).positions["gmm1"].mean.shape == (4, 6)


@pytest.mark.parametrize("broken", ["images", "positions"])
def test_what_was_pooled_must_be_so_as_a_whole(broken: str) -> None:
    model = small_model()
    whole, pooled = (Detector.fit(model, small_images(30), pooled=each).state_dict() for each in (False, True))
    with refused("gmm1"):
        Detector.from_state(model, {**pooled, broken: whole[broken]})


def test_the_worst_region_is_the_smallest_mean_of_a_window() -> None:
    model = DCGMM.build((20, 11, 1), [{"type": "gmm", "components": 4}]).double()
    model.draw_start(torch.Generator().manual_seed(0))
    given = torch.rand(9, 20, 11, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    report = Detector.fit(model, given).report(given)
    values = report.maps["gmm1"]
    expected = [
        min(float(each[y : y + 3, x : x + 2].mean()) for y in range(18) for x in range(10)) for each in values
    ]  # 20 / 8 and 11 / 8, rounded up
    assert report.scores["worst_region"].tolist() == pytest.approx(expected)


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
        assert torch.allclose(report.scores[f"{name}_standardised"], report.maps[name].mean((1, 2)))
        assert report.maps[name].shape == layer.log_prob.shape
    assert list(report.scores) == detector.names


def test_every_score_can_be_chosen_by_its_name(detector: Detector) -> None:
    names = ["gmm1_log_prob", "gmm1_standardised", "gmm2_log_prob", "gmm2_standardised"]
    names += ["ratio", "joint", "pixels", "worst", "worst_region", "auto"]
    assert detector.names == names
    assert {name: detector.name_of(name) for name in names} == {name: name for name in names}
    assert detector.name_of("log_prob") == "gmm2_log_prob"
    assert detector.name_of("standardised", "gmm1") == "gmm1_standardised"
    for gone in ("combined", "gmm3_log_prob", ""):
        with option_refused("score", gone, "log_prob", "standardised", *names):
            detector.name_of(gone)
    some = torch.zeros(2, dtype=torch.float64)
    for asked in (
        lambda: detector.scores(torch.zeros(2, *detector.model.input_shape))["autoo"],
        lambda: detector.standardised("autoo", some),
        lambda: detector.threshold("autoo", 1.5),
        lambda: detector.p_values("autoo", some),
        lambda: detector.c_of("autoo", 0.05),
    ):
        with option_refused("score", "autoo", "auto", "joint"):
            asked()
    with pytest.raises(OptionError):
        detector.name_of("log_prob", "gmm9")


def test_joint_is_the_worse_of_the_top_and_the_ratio(detector: Detector) -> None:
    new = detector.scores(images(30, 1))
    top, ratio = (detector.standardised(name, new[name]) for name in ("gmm2_standardised", "ratio"))
    assert torch.allclose(new["joint"], torch.minimum(top, ratio), atol=1e-9)
    assert 0 < (top < ratio).double().mean() < 1


def test_worst_is_the_least_of_the_maps_with_several_positions(detector: Detector) -> None:
    report = detector.report(images(30, 1))
    least = torch.stack([values.flatten(1).min(1).values for values in report.maps.values()]).min(0).values
    assert torch.equal(report.scores["worst"], least)
    # Each layer has its say: gmm1 has 7x7 positions, gmm2 3x3.
    assert {name: tuple(values.shape) for name, values in report.maps.items()} == {
        "gmm1": (30, 7, 7),
        "gmm2": (30, 3, 3),
    }
    own = {name: values.flatten(1).min(1).values for name, values in report.maps.items()}
    assert 0 < (own["gmm1"] < own["gmm2"]).double().mean() < 1


def test_worst_asks_a_layer_of_one_position_only_if_there_is_no_other() -> None:
    top: list[dict[str, Any]] = [{"type": "folding", "kernel": (7, 7)}, {"type": "gmm", "components": 4}]
    whole: list[dict[str, Any]] = [{"type": "folding", "kernel": (16, 16)}, {"type": "gmm", "components": 4}]
    for layers in (LAYERS[:2] + top, LAYERS[:2], whole):
        model = DCGMM.build((16, 16, 1), layers).double()
        model.draw_start(torch.Generator().manual_seed(0))
        report = Detector.fit(model, images(60, 0)).report(images(9, 1))
        assert torch.equal(report.scores["worst"], report.maps["gmm1"].flatten(1).min(1).values)


def test_worst_tells_a_small_defect(detector: Detector) -> None:
    whole = images(20, 1)
    damaged = whole.clone()
    damaged[:, 6:9, 6:9] = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).view(3, 3, 1)
    before, after = detector.scores(whole), detector.scores(damaged)
    assert (after["worst"] < before["worst"]).all()
    assert after["worst"].max() < before["worst"].min()


def test_pixels_are_those_of_a_mixture_with_the_top_components(detector: Detector) -> None:
    sums, training, new = PixelSums(), images(400, 0), images(30, 1)
    with torch.no_grad():
        sums.add(training, detector.model.score(training)["gmm2"])
    expected = sums.mixture(torch.float64).log_prob(new)
    assert torch.allclose(detector.scores(new)["pixels"], expected, rtol=1e-9)
    upside_down = torch.cat([new[0::2, :8], new[0::2, :8]], 1)  # dark and bright where no training image is
    assert detector.scores(upside_down)["pixels"].max() < detector.scores(new)["pixels"].min()


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
    assert detector.scores(mixed)["ratio"].max() < detector.scores(usual)["ratio"].min()


def test_scores_of_a_single_layer_are_its_standardised_score() -> None:
    model = DCGMM.build((16, 16, 1), LAYERS[:2]).double()
    detector = Detector.fit(model, images(60, 0))
    scores = detector.scores(images(9, 1))
    expected = detector.standardised("gmm1_standardised", scores["gmm1_standardised"])
    for name in ("ratio", "joint"):
        assert torch.allclose(detector.standardised(name, scores[name]), expected, atol=1e-9)
    assert {*(f"gmm1_{name}" for name in LAYER_SCORES), *MODEL_SCORES} == set(scores)


def test_training_scores_have_mean_0_and_deviation_1(detector: Detector) -> None:
    scores = detector.scores(images(400, 0), 64)
    for name, values in scores.items():
        if name == "auto":  # whose training scores are counted as new ones
            continue
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
    assert again.threshold("joint", 1.5) == detector.threshold("joint", 1.5)


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


def test_bytes_arrays_and_floats_are_scored_alike(detector: Detector) -> None:
    pixels = (images(12, 1) * 255).round().to(torch.uint8)
    expected = detector.scores(pixels.double() / 255)
    for same in (pixels, pixels.numpy(), pixels[..., 0], (pixels.double() / 255).numpy()):
        for name, values in detector.scores(same).items():
            assert values.dtype is torch.float64
            torch.testing.assert_close(values, expected[name])
    fitted = Detector.fit(detector.model, pixels.numpy()[..., 0])
    assert fitted.images["joint"].count == 12


def test_no_image_is_no_mistake_but_in_fitting(detector: Detector) -> None:
    none = images(0, 1)
    scores = detector.scores(none)
    assert list(scores) == detector.names
    assert {tuple(values.shape) for values in scores.values()} == {(0,)}
    assert detector.report(none).scores["joint"].shape == (0,)
    assert list(detector.reports(none)) == []
    with pytest.raises(OptionError) as error:
        Detector.fit(detector.model, none)
    assert error.value.field == "images"


def test_images_that_the_model_does_not_take(detector: Detector) -> None:
    for wrong in (images(3, 1)[:, :8], images(3, 1) + 1, images(3, 1) * torch.nan):
        for call in (detector.report, detector.scores, lambda x: Detector.fit(detector.model, x)):
            with pytest.raises(OptionError) as error:
                call(wrong)
            assert error.value.field == "images"


def test_with_an_exponent_the_layers_score_what_they_see_and_pixels_stay_pixels(detector: Detector) -> None:
    model = DCGMM.build((16, 16, 1), made(Architecture, {"layers": LAYERS, "exponent": 0.5})).double()
    model.load_state_dict(detector.model.state_dict())
    squared = Detector.fit(model, images(400, 0).square(), 150)
    plain, other = detector.scores(images(20, 1)), squared.scores(images(20, 1).square())
    for name, values in plain.items():
        if name not in ("pixels", "auto"):  # auto asks pixels
            torch.testing.assert_close(other[name], values, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(other["pixels"], plain["pixels"])


def test_no_gradient_is_kept(detector: Detector) -> None:
    wanted = images(3, 1).requires_grad_()
    assert not any(values.requires_grad for values in detector.scores(wanted).values())
