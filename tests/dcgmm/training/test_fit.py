import logging
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

import dcgmm
from dcgmm.errors import OptionError
from dcgmm.model import DCGMM
from dcgmm.options import made
from dcgmm.training import History, Trainer, TrainerOptions, fit
from dcgmm.training.fit import length_of
from dcgmm.training.layer import LayerReport, annealing_rule
from dcgmm.training.weights import weights_by_use
from tests.refusals import option_refused, refused

LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [2, 2], "stride": [2, 2]},
    {"type": "gmm", "components": 9},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4},
]
# Long enough for annealing to end: 4 windows of 2 steps and more.
HOW: dict[str, Any] = {"epochs": 6, "batch_size": 5, "annealing": {"alpha": 0.5, "sigma_end": 0.5, "gamma": 0.5}}


def model() -> DCGMM:
    return DCGMM.build((4, 6, 1), LAYERS)


def images(count: int = 35) -> torch.Tensor:
    return torch.randint(0, 256, (count, 4, 6, 1), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def assert_same(one: DCGMM, other: DCGMM) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("seed", [0, 3])
def test_it_is_the_training_driven_by_hand(seed: int) -> None:
    by_hand, fitted = model(), model()
    generator = torch.Generator().manual_seed(seed)
    by_hand.draw_start(generator)
    trainer = Trainer(by_hand, images(), made(TrainerOptions, HOW), [generator])
    reports = [report[0] for report in (trainer.step() for _ in range(trainer.total_steps)) if report]
    if trainer.options.weights_by_use:
        weights_by_use(by_hand, images())
    history = fit(fitted, images(), seed=seed, **HOW)
    assert_same(fitted, by_hand)
    assert history.steps == list(range(2, 43, 2))
    assert history.epochs == pytest.approx([step / 7 for step in history.steps])
    assert history.layers == {name: [report[name] for report in reports] for name in ("gmm1", "gmm2")}


def test_same_seed_same_bits_and_another_seed_others() -> None:
    first, second, other = model(), model(), model()
    assert fit(first, images(), **HOW) == fit(second, images(), seed=0, **HOW)
    fit(other, images(), seed=1, **HOW)
    assert_same(first, second)
    assert not torch.equal(first.gmms["gmm1"].loc, other.gmms["gmm1"].loc)


def test_what_was_learnt_before_is_lost() -> None:
    once, twice = model(), model()
    fit(once, images(), **HOW)
    fit(twice, images().flip(0), seed=7, **HOW)
    fit(twice, images(), **HOW)
    assert_same(twice, once)


def test_the_global_generator_and_the_images_are_not_touched() -> None:
    data, before = images(), torch.get_rng_state()
    kept = data.clone()
    fit(model(), data, **HOW)
    assert torch.equal(data, kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_every_form_train() -> None:
    expected, data = model(), images()
    fit(expected, data, **HOW)
    for same in (data.numpy(), data[..., 0], data[..., 0].numpy()):
        fitted = model()
        fit(fitted, same, **HOW)
        assert_same(fitted, expected)
    for floats in (data.float() / 255, data.double() / 255, (data.double() / 255).numpy()):
        fitted = model()
        fit(fitted, floats, **HOW)
        assert fitted.dtype is torch.float32
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(fitted.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    double = model().double()
    fit(double, data, **HOW)
    assert double.dtype is torch.float64


@pytest.mark.parametrize(
    "wrong",
    [
        images().transpose(1, 2),
        images()[0],
        images().float(),
        torch.full((35, 4, 6, 1), torch.nan),
        images().long(),
        images().tolist(),
    ],
    ids=["shape", "one image", "range", "NaN", "type", "list"],
)
def test_images_that_cannot_be(wrong: Any) -> None:
    untouched, subject = model(), model()
    with pytest.raises(OptionError) as error:
        fit(subject, wrong, **HOW)
    assert error.value.field == "images"
    assert_same(subject, untouched)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"epoch": 3}, "TrainerOptions"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"annealing": {"window": 3}}, "annealing"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 36}, "batch_size"),
        ({"annealing": {"gamma": 1.0}}, "gamma"),
    ],
)
def test_options_that_cannot_be(change: dict[str, Any], field: str) -> None:
    untouched, subject = model(), model()
    with pytest.raises(OptionError) as error:
        fit(subject, images(), **{**HOW, **change})
    assert error.value.field == field
    assert_same(subject, untouched)


def test_no_images() -> None:
    with pytest.raises(OptionError) as error:
        fit(model(), images(0), **HOW)
    assert error.value.field == "batch_size"


def test_models_side_by_side_are_for_the_trainer() -> None:
    with refused("fit", "one", "[2]", "Trainer"):
        fit(DCGMM.build((4, 6, 1), LAYERS, batch_shape=(2,)), images())


def test_the_callback_hears_of_every_window() -> None:
    heard: list[tuple[int, dict[str, LayerReport]]] = []
    history = fit(model(), images(), callback=lambda trainer, report: heard.append((trainer.steps, report)), **HOW)
    assert [steps for steps, _ in heard] == history.steps
    assert [report["gmm2"] for _, report in heard] == history.layers["gmm2"]


def test_a_callback_can_stop_the_training() -> None:
    def stop(trainer: Trainer, report: dict[str, LayerReport]) -> None:
        if trainer.steps >= 4:
            raise StopIteration

    with pytest.raises(StopIteration):
        fit(model(), images(), callback=stop, **HOW)


def test_a_training_too_short_for_annealing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit(model(), images(), **HOW)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        history = fit(model(), images(), epochs=20, batch_size=5)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    needed = annealing_rule(TrainerOptions()).minimal_steps(9)
    assert record.getMessage().startswith(f"annealing needs at least {needed} steps to reach its end, 20 epochs give ")
    assert f"20 epochs give 140: give steps={3 * needed}, or leave epochs out" in record.getMessage()
    assert history.steps[-1] == 132
    caplog.clear()
    fit(model(), images(), steps=3, batch_size=5)
    assert f"there are 3: give steps={3 * needed}, or leave steps out" in caplog.records[0].getMessage()


def test_steps_stand_in_place_of_epochs() -> None:
    by_epochs, by_steps = model(), model()
    how = {key: value for key, value in HOW.items() if key != "epochs"}
    fit(by_epochs, images(), **HOW)
    assert fit(by_steps, images(), steps=42, **how).steps[-1] == 42
    assert_same(by_steps, by_epochs)
    assert fit(model(), images(), steps=11, **how).steps[-1] == 10  # the last window that ends
    with option_refused("steps", 42, "epochs=6"):
        fit(model(), images(), steps=42, **HOW)


def _trainer(count: int, **options: Any) -> Trainer:
    """Not started."""
    return Trainer(model(), images(count), made(TrainerOptions, options), [torch.Generator()])


def test_the_default_length_suits_few_images() -> None:
    needed = annealing_rule(TrainerOptions()).minimal_steps(9)
    assert _trainer(35).annealing_steps == needed
    few = _trainer(35)  # fewer than a batch: all of them are one
    assert (few.batch_size, few.steps_per_epoch, few.total_steps) == (35, 1, 3 * needed)
    assert f"25 epochs are 25 steps here: training takes {3 * needed} ({3 * needed} steps)" in (length_of(few) or "")
    some = _trainer(250)
    assert some.steps_per_epoch == 2
    assert 3 * needed <= some.total_steps < 3 * needed + 2
    assert some.epochs == some.total_steps // 2
    many = _trainer(3 * needed // 25 + 1, batch_size=1)  # 25 epochs are long enough: the paper's data sets keep them
    assert (many.epochs, length_of(many)) == (25, None)
    for given in ({"epochs": 25}, {"steps": 25}):
        assert (_trainer(35, **given).total_steps, length_of(_trainer(35, **given))) == (25, None)


def test_a_training_without_the_end_of_a_window_has_an_empty_history() -> None:
    assert fit(model(), images(), epochs=1, batch_size=5) == History()


def test_it_is_what_the_package_calls_fit() -> None:
    assert dcgmm.fit is fit


def test_a_seed_that_cannot_be() -> None:
    with option_refused("seed", None, 0, 2**64 - 1):
        fit(model(), images(), seed=None, **HOW)  # type: ignore[arg-type]


class Bar:
    """Stands in for tqdm's bar."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, **options: Any) -> None:
        self.options, self.n, self.is_open = options, 0, False
        self.shown: list[tuple[int, str, bool]] = []
        self.made.append(self)

    def __enter__(self) -> "Bar":
        self.is_open = True
        return self

    def __exit__(self, *error: object) -> None:
        self.is_open = False

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        self.shown.append((self.n, text, refresh))

    def update(self, steps: int) -> None:
        self.n += steps


def test_a_bar_shows_how_far_training_is_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Bar))
    with_it, without = model(), model()
    history = fit(with_it, images(), progress=True, **{**HOW, "epochs": 7})
    assert fit(without, images(), **{**HOW, "epochs": 7}) == history
    assert_same(with_it, without)
    (bar,) = Bar.made
    assert bar.options == {"total": 49, "desc": "fit", "unit": " steps"}
    assert (bar.n, bar.is_open) == (49, False)  # the last window has ended at step 48
    last = {name: layers[-1] for name, layers in history.layers.items()}
    sigma = max(layer.sigma for layer in last.values())
    assert bar.shown[-1][1] == f"gmm2 {last['gmm2'].log_likelihood:.1f} nats, sigma {sigma:.2g}"
    assert [done for done, _, _ in bar.shown[:3]] == [0, 2, 4]
