"""p-values: what they are on known distributions, and how often they call an inlier an outlier."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dcgmm
from dcgmm.errors import InputError, OptionError
from dcgmm.outliers import Detector
from dcgmm.outliers.calibration import KNOTS, Calibration, Distribution, among_others
from dcgmm.outliers.metrics import auroc
from dcgmm.outliers.scores import layer_worst
from examples.textures.generate import DEFECTS, TEXTURES, damaged, textured
from tests.dcgmm.small import small_images, small_model
from tests.refusals import refused

LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": (6, 6), "stride": (2, 2)},
    {"type": "gmm", "components": 36},
]


def drawn(count: int, seed: int = 0) -> Tensor:  # (count,)
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [40, 300, 5000])
def test_p_values_are_ranks_among_what_was_seen(count: int) -> None:
    values = drawn(count)
    found = Distribution.of(values)
    assert len(found.values) <= KNOTS
    s = torch.linspace(-1, 2, 50, dtype=torch.float64)
    expected = (values[:, None] <= s).double().mean(0)
    torch.testing.assert_close(found.p_values(s), expected, atol=1.5 / count, rtol=0.01)


def test_the_tail_is_that_of_an_exponential() -> None:
    draws = np.random.RandomState(0).exponential(2.0, 20_000)
    found = Distribution.of(torch.from_numpy(-draws))
    for s in (-6.0, -12.0, -25.0, -40.0):
        assert float(found.log_p_values(torch.tensor(s))) == pytest.approx(s / 2, rel=0.25)


@pytest.mark.parametrize("count", [2, 7, 30, 4000])
def test_values_and_p_values_are_each_other_s_inverse(count: int) -> None:
    found = Distribution.of(drawn(count))
    for p in (1e-9, 1e-3, 0.01, 0.1, 0.4):
        if p < float(found.log_p[-1].exp()):
            assert float(found.p_values(torch.tensor(found.value(p), dtype=torch.float64))) == pytest.approx(
                p, rel=1e-5
            )
    rising = found.p_values(torch.linspace(-9, 9, 999, dtype=torch.float64))
    assert (rising.diff() >= 0).all()
    assert rising.min() > 0
    assert rising.max() < 1


def test_ties_damage_and_values_that_are_all_alike() -> None:
    assert Distribution.of(torch.ones(9)).p_values(torch.tensor([0.9, 1.0, 2.0])).tolist() == [0.0, 0.9, 0.9]
    halves = Distribution.of(torch.tensor([0.0, 1.0]).repeat(50))
    torch.testing.assert_close(halves.p_values(torch.tensor([0.0, 1.0])), torch.tensor([50, 100]).double() / 101)
    odd = torch.tensor([math.nan, -math.inf, 0.3])
    found = Distribution.of(torch.cat([drawn(50), odd])).p_values(odd)
    assert found[0].isnan()
    assert found[1] == 0
    assert found[2] > 0.4


@pytest.mark.parametrize("count", [2, 7, 60, 400])
def test_a_value_among_others_is_as_a_new_one(count: int) -> None:
    values = drawn(count)
    values[-1] = values[0]  # a tie
    found = among_others(torch.cat([values, torch.tensor([math.nan])]))[:-1]
    for number in values.argsort()[:50].tolist():
        others = torch.cat([values[:number], values[number + 1 :]])
        expected = Distribution.of(others).log_p_values(values[number])
        assert float(found[number]) == pytest.approx(float(expected), rel=1e-9), number
    rest = values.argsort()[50:]
    assert torch.equal(found[rest], Distribution.of(values).log_p_values(values)[rest])
    torch.testing.assert_close(
        among_others(torch.ones(500)).exp(), torch.full((500,), 0.998).double(), atol=1e-4, rtol=0
    )


def test_few_calibration_images_give_the_false_alarms_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    rates = []
    for _ in range(40):
        joint, pixels, worst = torch.randn(3, 60 + 200, generator=generator)
        calibration, _ = Calibration.of({"joint": joint[:60], "pixels": pixels[:60]}, {"gmm1": worst[:60]}, {})
        auto = calibration.auto({"joint": joint[60:], "pixels": pixels[60:]}, {"gmm1": worst[60:]})
        p = calibration.scores["auto"].p_values(auto)
        rates.append(float((p <= 0.05).double().mean()))
    assert sum(rates) / len(rates) == pytest.approx(0.05, abs=0.015)  # 0.09 if the known ones were no new ones


def test_auto_is_the_smallest_p_value_and_its_own_distribution_says_how_rare_it_is() -> None:
    detector = Detector.fit(small_model(), small_images(200))
    calibration = detector.known_calibration
    report = detector.report(small_images(30, 1))
    worst = layer_worst(report.maps)
    assert list(worst) == ["gmm1"]  # gmm2 has one position
    parts = [calibration.scores[name].log_p_values(report.scores[name]) for name in ("joint", "pixels", "worst_region")]
    parts.append(calibration.worst["gmm1"].log_p_values(worst["gmm1"]))
    torch.testing.assert_close(report.scores["auto"], torch.stack(parts).min(0).values)
    # A smallest of four p-values is small more often than one is.
    p = detector.p_values("auto", report.scores["auto"])
    assert (p >= report.scores["auto"].exp() - 1e-9).all()


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_a_rate_of_false_alarms_is_that_of_the_calibration_images(p: float) -> None:
    images = small_images(300)
    detector = Detector.fit(small_model(), images)
    for name, scores in detector.scores(images).items():
        threshold = detector.threshold(name, detector.c_of(name, p))
        assert float((scores < threshold).double().mean()) == pytest.approx(p, abs=0.012), name


def test_calibration_comes_back_and_does_not_depend_on_batches() -> None:
    images = small_images(120)
    detector, other = (Detector.fit(small_model(), images, size) for size in (120, 7))
    again = Detector.from_state(detector.model, detector.state_dict())
    new = small_images(9, 1)
    assert torch.equal(again.scores(new)["auto"], detector.scores(new)["auto"])
    torch.testing.assert_close(other.scores(new)["auto"], detector.scores(new)["auto"])
    pooled, parts = (each.known_calibration.positions["gmm1"] for each in (detector, other))
    assert pooled.count == parts.count == 120 * 24
    torch.testing.assert_close(pooled.values, parts.values)


def test_auto_of_an_earlier_version_is_what_it_was() -> None:
    detector = Detector.fit(small_model(), small_images(60))
    state, new = detector.state_dict(), small_images(9, 1)
    del state["images"]["worst_region"], state["calibration"]["scores"]["worst_region"]
    old = Detector.from_state(detector.model, state)
    assert old.names == [name for name in detector.names if name != "worst_region"]
    scores, worst = old.scores(new), layer_worst(detector.report(new).maps)
    parts = [detector.known_calibration.scores[name].log_p_values(scores[name]) for name in ("joint", "pixels")]
    parts.append(detector.known_calibration.worst["gmm1"].log_p_values(worst["gmm1"]))
    torch.testing.assert_close(scores["auto"], torch.stack(parts).amin(0))


def test_p_values_of_another_model_are_refused() -> None:
    detector = Detector.fit(small_model(), small_images(40))
    state = detector.state_dict()
    state["calibration"]["worst"]["gmm9"] = state["calibration"]["worst"].pop("gmm1")
    with refused("gmm9", "gmm1"):
        Detector.from_state(detector.model, state)


def test_a_detector_of_an_earlier_version_goes_on_without_p_values() -> None:
    detector = Detector.fit(small_model(), small_images(40))
    state = detector.state_dict()
    del state["calibration"], state["images"]["auto"]
    old, new = Detector.from_state(detector.model, state), small_images(3, 1)
    assert old.names == [name for name in detector.names if name != "auto"]
    assert torch.equal(old.scores(new)["joint"], detector.scores(new)["joint"])
    with pytest.raises(OptionError):
        old.name_of("auto")
    with pytest.raises(InputError, match="fit it anew"):
        old.c_of("joint", 0.01)


def test_other_images_calibrate_but_do_not_move_means() -> None:
    detector = Detector.fit(small_model(), small_images(100))
    held = small_images(100, 5)
    other = detector.calibrated(held)
    assert other.threshold("joint", 1.5) == detector.threshold("joint", 1.5)
    assert other.c_of("joint", 0.1) != detector.c_of("joint", 0.1)
    same = detector.calibrated(small_images(100))
    torch.testing.assert_close(same.scores(held)["auto"], detector.scores(held)["auto"])


def test_no_image_calibrates_nothing() -> None:
    with pytest.raises(OptionError):
        Detector.fit(small_model(), small_images(5)).calibrated(small_images(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTURES)
def test_defects_in_textures_are_told_at_the_rate_asked_for(name: str) -> None:
    train, test = textured(name, 400, 32, 0), textured(name, 500, 32, 2)
    model = dcgmm.DCGMM.build((32, 32, 3), LAYERS)
    dcgmm.fit(model, train, seed=0, steps=1700, annealing={"alpha": 0.05})
    detector = Detector.fit(model, train)
    usual = detector.scores(test)["auto"]
    for rate in (0.01, 0.05):
        assert float((usual < detector.threshold("auto", detector.c_of("auto", rate))).double().mean()) <= 2 * rate
    for number, kind in enumerate(DEFECTS):
        found = detector.scores(damaged(test[:200], kind, number)[0])["auto"]
        # Grey lies between what these two have everywhere: it is as likely as they are.
        least = 0.75 if kind == "missing" and name in ("grain", "tiles") else 0.98
        assert auroc(usual.numpy(), found.numpy()) > least, kind
