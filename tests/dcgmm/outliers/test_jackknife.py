"""A model without an image: against the M step written out, and that its scores are those of new images."""

from typing import Any

import pytest
import torch
from torch import Tensor

import dcgmm
from dcgmm.model import DCGMM
from dcgmm.outliers import Detector
from dcgmm.outliers.jackknife import without_each
from tests.conftest import ROUNDING
from tests.dcgmm.small import give_factors, small_images, small_model


def m_step(values: Tensor, shares: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-weights, means and variances, component by component."""
    weights = shares.sum(0) / len(shares)
    means = torch.stack([(part.unsqueeze(-1) * values).sum(0) / part.sum() for part in shares.T])
    squares = torch.stack(
        [
            (part.unsqueeze(-1) * (values - mean) ** 2).sum(0) / part.sum()
            for part, mean in zip(shares.T, means, strict=True)
        ]
    )
    return weights.log(), means, squares.clamp(min=floor)


@torch.no_grad()
def test_parameters_move_as_the_m_step_does_without_the_image() -> None:
    model, images = small_model(), small_images(6)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    scored = {
        name: (each.patches.values.detach(), each.patches.points(each.responsibilities).detach())
        for name, each in model.score(images).items()
    }
    for number, other in enumerate(without_each(model, images)):
        for name, gmm in model.gmms.items():
            values, shares = scored[name]
            own = torch.arange(6).repeat_interleave(len(values) // 6) == number
            every, rest = (m_step(values[rows], shares[rows], 0.05) for rows in (slice(None), ~own))
            found = other.gmms[name]
            torch.testing.assert_close(found.loc, gmm.loc + rest[1] - every[1], **ROUNDING)
            expected = (gmm.precision_sqrt * (every[2] / rest[2]).sqrt()).clamp(0.01, 20**0.5)
            torch.testing.assert_close(found.precision_sqrt, expected, **ROUNDING)
            moved = (gmm.log_weights + rest[0] - every[0]).log_softmax(-1)
            torch.testing.assert_close(found.log_weights, moved, **ROUNDING)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


@torch.no_grad()
def test_what_only_one_image_uses_is_left_where_it_is_but_weighs_nothing() -> None:
    model = DCGMM.build((1, 1, 1), [{"type": "gmm", "components": 4}]).double()
    with torch.no_grad():
        model.gmms["gmm1"].loc.copy_(torch.tensor([[0.0], [0.3], [0.6], [5.0]]))
        model.gmms["gmm1"].precision_sqrt.fill_(20**0.5)
    images = torch.tensor([0.0, 0.3, 0.6, 0.1]).double().view(-1, 1, 1, 1)
    gmm = next(iter(without_each(model, images))).gmms["gmm1"]
    assert gmm.loc.isfinite().all()
    assert float(gmm.loc[3]) == 5.0


def test_factors_stay_and_their_precisions_with_them() -> None:
    layers: list[dict[str, Any]] = [
        {"type": "folding", "kernel": [3, 2], "stride": [2, 1]},
        {"type": "gmm", "components": 4, "factors": 2},
    ]
    model = give_factors(DCGMM.build((9, 7, 2), layers)).double()
    gmm = next(iter(without_each(model, small_images(5)))).gmms["gmm1"]
    assert torch.equal(gmm.precision_sqrt, model.gmms["gmm1"].precision_sqrt)
    assert not torch.equal(gmm.loc, model.gmms["gmm1"].loc)
    assert gmm.score(torch.rand(2, 4, 6, 12).double()).log_prob.isfinite().all()


def test_a_pooled_detector_is_calibrated_by_scores_of_what_was_left_out() -> None:
    model, images = small_model(), small_images(40)
    detector = Detector.fit(model, images, pooled=True)
    calibration = detector.known_calibration
    given = (detector.positions, detector.images, None, calibration)
    scores = [
        float(Detector(other, *given).report(images[row : row + 1]).scores["joint"])
        for row, other in enumerate(without_each(model, images))
    ]
    assert float(calibration.scores["joint"].values[-1]) == pytest.approx(max(scores))
    assert calibration.scores["joint"].count == 40


@pytest.mark.parametrize("count", [1, 2])
def test_there_may_be_hardly_any_images(count: int) -> None:
    detector = Detector.fit(small_model(), small_images(count), pooled=True)
    assert not detector.scores(small_images(3, 1))["auto"].isnan().any()


def test_few_images_that_a_model_has_learnt_by_heart_do_not_set_its_thresholds() -> None:
    """Uniform images, of one brightness each: with as many components as images the model knows each."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Tensor:
        noise = 0.02 * torch.randn(count, 16, 16, 1, generator=generator)
        return (torch.rand(count, 1, 1, 1, generator=generator) + noise).clamp(0, 1)

    model = DCGMM.build(
        (16, 16, 1), [{"type": "folding", "kernel": [4, 4], "stride": [4, 4]}, {"type": "gmm", "components": 9}]
    )
    train, new = drawn(12), drawn(300)
    dcgmm.fit(model, train, tile=[8, 8], steps=500, annealing={"alpha": 0.2}, batch_size=24)
    alarms = {}
    for pooled in (False, True):
        detector = Detector.fit(model, train, pooled=pooled)
        alarms[pooled] = float((detector.p_values("joint", detector.scores(new)["joint"]) <= 0.1).double().mean())
    assert alarms[True] < alarms[False]
