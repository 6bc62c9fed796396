"""A training that ends worse than it started is told, layer by layer."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

import dcgmm
from dcgmm.training import Trainer
from dcgmm.training.outcome import Progress, progress, trouble
from tests.conftest import uniform
from tests.dcgmm.small import small_images, small_model
from tests.refusals import refused

LAYERS = [dcgmm.model.LayerOptions("gmm", components=4)]  # type: ignore[arg-type]  # made into a LayerType


def test_the_start_is_scored_on_what_a_layer_sees_at_the_end() -> None:
    model, images = small_model(), small_images(7)
    found = progress(model, images, seed=3)
    before = small_model()
    before.draw_start(torch.Generator().manual_seed(3))
    scored = model.score(images)
    for name, layer in found.items():
        assert layer.end == pytest.approx(float(scored[name].log_prob.detach().mean()))
    gmm, below = before.gmms["gmm1"], model.foldings["folding1"]
    seen = below(images.double() / 255)
    assert found["gmm1"].start == pytest.approx(float(gmm.log_prob(seen).detach().mean()))


@pytest.mark.parametrize(
    ("start", "end", "well"),
    [(1.0, 2.0, True), (1.0, 1.0, True), (2.0, 1.0, False), (1.0, math.nan, False), (1.0, -math.inf, False)],
)
def test_worse_or_no_number_is_trouble(start: float, end: float, well: bool) -> None:
    said = trouble({"gmm1": Progress(0.0, 1.0), "gmm2": Progress(start, end)})
    assert (said is None) == well
    if said is not None:
        assert "gmm2" in said
        assert "gmm1" not in said


BAD = {"start": 1.0, "end": 1.0, "logits": 1000.0}
TWO: list[dcgmm.model.LayerOptions | Mapping[str, Any]] = [
    {"type": "folding", "kernel": [7, 7], "stride": [7, 7]},
    {"type": "gmm", "components": 4},
    {"type": "pooling", "kernel": [2, 2]},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4},
]


@pytest.mark.parametrize(("rates", "well"), [({}, True), (BAD, False)])
def test_fit_warns(rates: dict[str, float], well: bool, caplog: pytest.LogCaptureFixture) -> None:
    model, images = dcgmm.DCGMM.build((28, 28, 1), TWO), dcgmm.datasets.load("mnist_sample").train.images[:300]
    with caplog.at_level(logging.WARNING):
        dcgmm.fit(model, images, epochs=2, learning_rate=rates, annealing={"alpha": 0.5}, weights_by_use=False)
    assert ("did not go well" not in caplog.text) == well


def test_a_training_shorter_than_a_window_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dcgmm.DCGMM.build((3, 3, 1), LAYERS)
    step = Trainer.step

    def spoilt(self: Trainer) -> object:
        report = step(self)
        with torch.no_grad():
            self.model.gmms["gmm1"].loc[0, 0] = torch.nan
        return report

    monkeypatch.setattr(Trainer, "step", spoilt)
    with refused("gmm1:", "NaN"):
        dcgmm.fit(model, uniform(40, 3, 3, 1), epochs=1, batch_size=20, annealing={"alpha": 0.01})
