"""Scores and thresholds of images of which only a part was seen."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dcgmm.errors import OptionError
from dcgmm.model import DCGMM, GMM
from dcgmm.outliers import Detector, evaluate
from dcgmm.outliers.pixels import PixelMixture
from dcgmm.outliers.ratio import log_ratio
from tests.conftest import ROUNDING, uniform
from tests.dcgmm.outliers.test_detector import LAYERS, images

LEFT = torch.arange(16).expand(16, 16) < 8
CENTRE = ~((torch.arange(16) - 7.5).abs() < 4).expand(16, 16) | ~((torch.arange(16) - 7.5).abs() < 4)[:, None]
C = 1.0  # of thresholds


@pytest.fixture(scope="module")
def training() -> Tensor:
    return images(600, 0)


@pytest.fixture(scope="module")
def detector(training: Tensor) -> Detector:
    model, generator = DCGMM.build((16, 16, 1), LAYERS).double(), torch.Generator().manual_seed(1)
    x = images(50, 3)
    with torch.no_grad():
        for layer in model.layers:
            if isinstance(layer, GMM):  # centroids: inputs that occur
                inputs = x.flatten(0, 2)
                layer.loc.copy_(inputs[torch.randperm(len(inputs), generator=generator)[: layer.components]])
            x = layer(x)
    return Detector.fit(model, training)


def random_masks(count: int, seed: int) -> Tensor:  # (N, 16, 16)
    return torch.rand(count, 16, 16, generator=torch.Generator().manual_seed(seed)) < 0.5


def test_all_seen_is_the_whole_image(detector: Detector, training: Tensor) -> None:
    new, everything = images(7, 1), torch.ones(16, 16, dtype=torch.bool)
    whole, seen = detector.report(new), detector.report(new, everything)
    for name, values in whole.scores.items():
        torch.testing.assert_close(seen.scores[name], values, **ROUNDING)
    again = detector.seen_through(training, everything)
    for name in detector.names:
        assert again.threshold(name, C) == pytest.approx(detector.threshold(name, C), rel=1e-9)


def test_what_was_not_seen_does_not_matter(detector: Detector, training: Tensor) -> None:
    new, masks = images(6, 1), random_masks(6, 2)
    hidden = torch.where(masks[..., None], new, torch.nan)
    partly = detector.seen_through(training, masks)
    expected = partly.scores(new, observed=masks)
    for other in (partly.scores(hidden, 4, masks), partly.scores(hidden.numpy(), observed=masks.numpy())):
        for name, values in expected.items():
            torch.testing.assert_close(other[name], values, **ROUNDING)
            assert values.isfinite().all()


@pytest.mark.parametrize("mask", ["left", "centre", "random"])
def test_as_many_inliers_are_kept_as_of_whole_images(detector: Detector, training: Tensor, mask: str) -> None:
    held_out = images(600, 5)
    observed = {"left": LEFT, "centre": CENTRE, "random": random_masks(600, 7)}[mask]
    reference = random_masks(600, 8) if mask == "random" else observed
    partly = detector.seen_through(training, reference)
    whole, seen = detector.scores(held_out), partly.scores(held_out, observed=observed)
    for name in detector.names:
        kept = (whole[name] >= detector.threshold(name, C)).double().mean()
        kept_partly = (seen[name] >= partly.threshold(name, C)).double().mean()
        assert abs(kept - kept_partly) < 0.08, name
    # The moments of whole images would say something else.
    kept = (whole["pixels"] >= detector.threshold("pixels", C)).double().mean()
    assert abs((seen["pixels"] >= detector.threshold("pixels", C)).double().mean() - kept) > 0.1


def test_outliers_are_told_by_what_was_seen_of_them(detector: Detector, training: Tensor) -> None:
    partly, new = detector.seen_through(training, LEFT), images(40, 1)
    damaged = new.clone()
    damaged[:, 6:9, 9:12] = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).view(3, 3, 1)
    same = partly.scores(new, observed=LEFT)["worst"]
    assert torch.equal(partly.scores(damaged, observed=LEFT)["worst"], same)  # on the right, where nothing was seen
    damaged[:, 6:9, 2:5] = damaged[:, 6:9, 9:12]
    assert partly.scores(damaged, observed=LEFT)["worst"].max() < same.min()


def test_positions_that_were_not_seen_are_no_worse_than_usual(detector: Detector, training: Tensor) -> None:
    report = detector.seen_through(training, LEFT).report(images(5, 1), LEFT)
    unseen = report.maps["gmm1"][..., 4:]  # windows of 4 pixels, two apart
    assert unseen.abs().max() < 1e-9
    assert report.maps["gmm1"][..., :3].abs().mean() > 0.1


def test_masks_through_which_nothing_is_seen_leave_nothing_to_compare_with(
    detector: Detector, training: Tensor
) -> None:
    for masks in (torch.zeros_like(LEFT), torch.stack([LEFT, torch.zeros_like(LEFT)]), LEFT[None][:0]):
        with pytest.raises(OptionError) as error:
            detector.seen_through(training, masks)
        assert error.value.field == "observed"


def test_moments_are_those_over_images_and_masks(detector: Detector, training: Tensor) -> None:
    masks = random_masks(4, 2)
    several = detector.seen_through(training[:10], masks)
    by_hand = detector.seen_through(training[:10], masks[torch.arange(10) % 4])
    for name in detector.names:
        assert several.threshold(name, C) == by_hand.threshold(name, C)
    values = several.scores(training[:10], observed=masks[torch.arange(10) % 4])["gmm1_log_prob"]
    assert several.threshold("gmm1_log_prob", C) == pytest.approx(float(values.mean() - C * values.std(correction=0)))


def test_the_pixels_marginal_is_torchs() -> None:
    mixture = PixelMixture(torch.tensor([0.3, 0.7]).double(), uniform(2, 6), 0.1 + uniform(2, 6, seed=1))
    new, seen = uniform(5, 2, 3, 1, seed=2), uniform(5, 2, 3, 1, seed=3) < 0.6
    for image, mask, found in zip(new, seen, mixture.log_prob(new, seen), strict=True):
        o = mask.flatten()
        gaussians = Independent(Normal(mixture.mean[:, o], mixture.variance[:, o].sqrt()), 1)
        expected = MixtureSameFamily(Categorical(mixture.weights), gaussians).log_prob(image.sqrt().flatten()[o])
        torch.testing.assert_close(found, expected, **ROUNDING)


def test_cells_count_in_the_ratio_by_their_shares(detector: Detector) -> None:
    seen = detector.model.score(images(4, 1))["gmm2"]
    with torch.no_grad():
        top, ones = detector.model.gmms["gmm2"], torch.ones(*seen.component_scores.shape[:3], 16).double()
        whole = log_ratio(top, 4, seen.patches)
        torch.testing.assert_close(log_ratio(top, 4, seen.patches, ones), whole)
        nothing = log_ratio(top, 4, seen.patches, 0 * ones)
        torch.testing.assert_close(nothing, torch.zeros_like(nothing))
        halves = log_ratio(top, 4, seen.patches, ones / 2)
        assert (halves.abs() < whole.abs() + 1).all()
        assert not torch.allclose(halves, whole)


def test_known_images_are_judged_by_what_was_seen(detector: Detector, training: Tensor) -> None:
    inside, outside = images(9, 1), images(7, 2).flip(1).roll(5, 2)
    masks = random_masks(9, 3), random_masks(7, 4)
    partly = detector.seen_through(training, torch.cat(masks))
    found = evaluate(partly, inside, outside, 4, observed=masks)
    for given, mask, scores in ((inside, masks[0], found.inliers), (outside, masks[1], found.outliers)):
        expected = partly.scores(given, observed=mask)
        assert all(torch.allclose(torch.from_numpy(scores[name]), expected[name]) for name in expected)


def test_masks_that_do_not_fit(detector: Detector, training: Tensor) -> None:
    new = images(3, 1)
    for wrong in (torch.ones(16, 15), torch.ones(2, 16, 16), torch.ones(0, 16, 16), torch.ones(16)):
        for call in (detector.report, lambda x, mask: detector.scores(x, observed=mask)):
            with pytest.raises(OptionError) as error:
                call(new, wrong)
            assert error.value.field == "observed"
    with pytest.raises(OptionError) as error:
        detector.seen_through(training, torch.ones(16, 15))
    assert error.value.field == "observed"
    with pytest.raises(OptionError) as error:
        detector.seen_through(training[:0], LEFT)
    assert error.value.field == "images"
    with pytest.raises(OptionError) as error:
        detector.report(torch.full((1, 16, 16), torch.nan), LEFT)
    assert error.value.field == "images"
