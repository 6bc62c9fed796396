"""The third phase of training: a layer's factors, from where it is annealed."""

import copy
from collections.abc import Callable, Hashable
from typing import Any

import pytest
import torch
from torch import Tensor

from dcgmm.model import DCGMM, GMMOptions
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.options import made
from dcgmm.training import Trainer, TrainerOptions, fit
from tests.refusals import refused

LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [2, 2], "stride": [2, 2]},
    {"type": "gmm", "components": 9, "factors": 2},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4, "factors": 1},
]
# 7 steps an epoch, windows of 2; some 6 of them anneal, and the first 8 steps with factors hold points.
HOW: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 5,
    "centroid_epochs": 0.5,
    "factor_epochs": 8 / 7,
    "annealing": {"alpha": 1 / 2, "sigma_end": 0.2, "delta": 0.3, "gamma": 0.5},
}


def images(count: int = 35) -> Tensor:
    """Bytes of which each 2x2 window varies along a few directions."""
    generator = torch.Generator().manual_seed(5)
    strength = torch.rand(count, 2, 3, 1, generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2)
    noise = torch.rand(count, 4, 6, 1, generator=generator)
    return ((0.8 * strength + 0.2 * noise) * 255).to(torch.uint8)


def trainer(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Trainer:
    generator = torch.Generator().manual_seed(seed)
    model = DCGMM.build((4, 6, 1), LAYERS, GMMOptions(loc_range=0.3)).to(dtype)
    model.draw_start(generator)
    return Trainer(model, images(), made(TrainerOptions, {**HOW, **changes}), [generator])


def side_by_side(*seeds: int, device: str = "cpu", **changes: Any) -> Trainer:
    alone = [trainer(seed, torch.float64, **changes) for seed in seeds]
    generators = [generator for each in alone for generator in each._generators]
    model = DCGMM.side_by_side([each.model for each in alone]).to(device)
    return Trainer(model, images().to(device), alone[0].options, generators)


def layer(subject: Trainer, name: str = "gmm1") -> FactorGMM:
    gmm = subject.model.gmms[name]
    assert isinstance(gmm, FactorGMM)
    return gmm


def train(subject: Trainer, steps: int | None = None) -> dict[str, Tensor]:
    for _ in range(subject.total_steps - subject.steps if steps is None else steps):
        subject.step()
    return {name: value.clone() for name, value in subject.model.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def begin_of(subject: Trainer, name: str = "gmm1") -> list[int]:
    """Step after which each model has factors."""
    models = layer(subject, name).logits.shape[:-1].numel()
    begun = [0] * models
    while subject.steps < subject.total_steps:
        subject.step()
        for number, factors in enumerate(layer(subject, name).factors.reshape(models, -1)):
            if factors.any() and not begun[number]:
                begun[number] = subject.steps
    assert all(begun)
    return begun


def test_factors_begin_at_the_window_s_end_at_which_sigma_is_down() -> None:
    subject = trainer()
    held = []
    for _ in range(subject.total_steps):
        subject.step()
        for name, sigma in subject.sigma()[0].items():
            gmm = layer(subject, name)
            assert gmm.has_factors == bool(gmm.factors.any()) == (sigma <= torch.tensor(0.2))
            assert gmm.has_factors or gmm.held is None
        held.append((layer(subject).has_factors, layer(subject).held is not None))
    phases = sorted({state: held.index(state) for state in set(held)}.items(), key=lambda each: each[1])
    (none, _), (young, begin), (grown, end) = phases
    assert (none, young, grown) == ((False, False), (True, True), (True, False))
    assert (begin + 1) % 2 == 0
    assert end - begin == 8
    assert held == [none] * begin + [young] * 8 + [grown] * (len(held) - end)


def test_nothing_is_held_where_the_phase_is_to_have_no_length() -> None:
    subject = trainer(factor_epochs=0)
    for _ in range(subject.total_steps):
        subject.step()
        assert layer(subject).held is None
    assert layer(subject).has_factors


def test_before_the_third_phase_it_trains_as_without_factors() -> None:
    begin = min(begin_of(trainer(), name)[0] for name in ("gmm1", "gmm2"))
    subject, plain = trainer(), trainer()
    described = [{**each} for each in LAYERS]
    for each in described:
        each.pop("factors", None)
    model = DCGMM.build((4, 6, 1), described, GMMOptions(loc_range=0.3))
    model.load_state_dict({name: v for name, v in plain.model.state_dict().items() if "factors" not in name})
    plain = Trainer(model, images(), plain.options, plain._generators)
    assert_same(train(plain, begin), train(subject, begin))


def test_only_centroids_adapt_in_the_first_phase_even_if_nothing_is_to_be_annealed() -> None:
    early: dict[str, Any] = {"centroid_epochs": 1.0, "annealing": {**HOW["annealing"], "sigma_end": 2.0}}
    subject = trainer(**early)
    assert subject.sigma() == [{"gmm1": 2.0, "gmm2": 2.0}]
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    for name, value in train(subject, 7).items():
        assert torch.equal(value, before[name]) == (not name.endswith("loc")), name
    subject.step()
    assert layer(subject).has_factors
    # The same where start values are drawn after the trainer was made.
    fitted = DCGMM.build((4, 6, 1), LAYERS, GMMOptions(loc_range=0.3))
    fit(fitted, images(), **{**HOW, **early}, weights_by_use=False)
    assert_same(fitted.state_dict(), train(subject))


def test_resumed_at_any_point_it_is_the_uninterrupted_training() -> None:
    (begin,) = begin_of(trainer())
    whole = trainer()
    expected = train(whole)
    for at in (1, begin - 1, begin, begin + 1, begin + 3, begin + 7, begin + 8, begin + 9, whole.total_steps - 1):
        stopped, resumed = trainer(), trainer(seed=99)
        train(stopped, at)
        resumed.model.load_state_dict(stopped.model.state_dict())
        resumed.load_state_dicts(copy.deepcopy(stopped.state_dicts()))
        now, then = layer(resumed), layer(stopped)
        assert (now.has_factors, now.held is None) == (then.has_factors, then.held is None), at
        assert_same(train(resumed), expected)
        assert resumed.sigma() == whole.sigma()


SEEDS = (1, 4, 7)


def test_replicas_train_as_each_alone_though_they_anneal_at_different_times() -> None:
    together = side_by_side(*SEEDS)
    begun = {name: begin_of(side_by_side(*SEEDS), name) for name in ("gmm1", "gmm2")}
    assert len(set(begun["gmm1"])) > 1
    reports = [report for report in (together.step() for _ in range(together.total_steps)) if report]
    for number, seed in enumerate(SEEDS):
        for name, starts in begun.items():
            assert begin_of(trainer(seed, torch.float64), name) == [starts[number]]
        alone = trainer(seed, torch.float64)
        expected = [report[0] for report in (alone.step() for _ in range(alone.total_steps)) if report]
        for given, wanted in zip(reports, expected, strict=True):
            for name, row in wanted.items():
                assert vars(given[number][name]) == pytest.approx(vars(row), rel=1e-9)
        single = together.model.alone()[number]
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(single.state_dict()[name], value, rtol=1e-7, atol=1e-9)


def test_replicas_resumed_one_by_one_are_the_uninterrupted_ones() -> None:
    # As a run directory's checkpoint is read: each model by itself, then side by side.
    begun = begin_of(side_by_side(*SEEDS))
    expected = train(side_by_side(*SEEDS))
    first, last = min(begun), max(begun)
    assert begun[0] != first, "the model that gives the others its form has no factors yet"
    for at in (first, first + 1, last - 1, last, last + 3):
        stopped = side_by_side(*SEEDS)
        train(stopped, at)
        models = [trainer(99, torch.float64).model for _ in SEEDS]
        for model, source in zip(models, stopped.model.alone(), strict=True):
            model.load_state_dict(source.state_dict())
        generators = [torch.Generator().manual_seed(99) for _ in SEEDS]
        resumed = Trainer(DCGMM.side_by_side(models), images(), stopped.options, generators)
        resumed.load_state_dicts(stopped.state_dicts())
        assert layer(resumed).has_factors
        for name, value in train(resumed).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-9)


def test_factors_that_diverge_are_reported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcgmm.options.LARGEST", 10**39)
    subject = side_by_side(*SEEDS)
    train(subject, max(begin_of(side_by_side(*SEEDS))) + 2)
    with torch.no_grad():
        layer(subject).factors[1, 0, 0, 0] = torch.nan
    with refused("gmm1 of model 2 of 3:", "NaN"):
        train(subject)
    with refused("NaN", "learning rate's"):
        train(trainer(learning_rate={"factors": 1e38}))


def test_a_graph_of_a_step_is_of_one_phase_and_finds_what_is_held_where_it_was() -> None:
    class Recorded:
        def __init__(self) -> None:
            self.keys: list[Hashable] = []
            self.places: set[int] = set()

        def run(self, step: Callable[[], None], key: Hashable) -> None:
            held = layer(subject).held
            self.keys.append(key)
            if held is not None:
                self.places.add(held.data_ptr())
            step()

    subject, recorded = side_by_side(*SEEDS), Recorded()
    subject._step_graph = recorded  # type: ignore[assignment]
    seen: list[tuple[bool, ...]] = []
    while subject.steps < subject.total_steps:
        gmms = [layer(subject, name) for name in ("gmm1", "gmm2")]
        seen.append(tuple(flag for gmm in gmms for flag in (gmm.has_factors, gmm.held is not None)))
        subject.step()
    pairs = set(zip(recorded.keys[4:], seen[4:], strict=True))
    assert len({key for key, _ in pairs}) == len(pairs) >= 3
    assert len(recorded.places) == 1


@pytest.mark.gpu
def test_cuda_trains_like_the_cpu() -> None:
    on_cpu, on_cuda = side_by_side(*SEEDS), side_by_side(*SEEDS, device="cuda")
    train(on_cpu)
    train(on_cuda)
    for name in ("gmm1", "gmm2"):
        # Eigenvectors have no sign of their own, and so the factors have none.
        mine, theirs = (gmm.factors @ gmm.factors.mT for gmm in (layer(on_cuda, name), layer(on_cpu, name)))
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(layer(on_cuda, name).loc.cpu(), layer(on_cpu, name).loc, rtol=1e-6, atol=1e-8)


def test_fit_finds_a_better_density_with_factors() -> None:
    generator = torch.Generator().manual_seed(1)
    directions, noise = torch.randn(3, 36, generator=generator), torch.randn(900, 36, generator=generator)
    data = (0.5 + 0.2 * torch.randn(900, 3, generator=generator) @ directions + 0.1 * noise).clamp(0, 1)
    data = data.view(-1, 6, 6, 1)
    options: dict[str, Any] = {
        "epochs": 40,
        "batch_size": 50,
        "factor_epochs": 5.0,
        "annealing": {"alpha": 0.5, "gamma": 0.6},
    }
    found = []
    for factors in (0, 1, 3):
        layers: list[dict[str, Any]] = [
            {"type": "folding", "kernel": [6, 6]},
            {"type": "gmm", "components": 4, "factors": factors},
        ]
        model = DCGMM.build((6, 6, 1), layers)
        fit(model, data[:800], seed=0, **options)
        found.append(float(model.log_prob(data[800:]).mean()))
    assert found[0] + 1 < found[1] < found[2] - 1
