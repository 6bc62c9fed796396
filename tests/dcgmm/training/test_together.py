"""Several processes that train one model, each on its part of every batch, against one alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dcgmm.datasets import DatasetOptions, load
from dcgmm.distributed import Processes
from dcgmm.errors import InputError
from dcgmm.model import DCGMM
from dcgmm.options import made
from dcgmm.training import Trainer, TrainerOptions, fit
from dcgmm.training.weights import weights_by_use
from tests.conftest import Tolerance
from tests.dcgmm.model.native.samples import NEEDS_COMPILER
from tests.refusals import check_names
from tests.together import together

ANNEALING = {"alpha": 1 / 4, "sigma_end": 0.2, "delta": 0.3, "gamma": 0.5}
OPTIONS: dict[str, Any] = {"steps": 30, "batch_size": 24, "centroid_epochs": 0.5, "annealing": ANNEALING}
# Like 1L, 2L-c and 3L-a; a layer with factors; one with own positions; one trained on tiles.
SMALL: dict[str, list[dict[str, Any]]] = {
    "1L": [{"type": "folding", "kernel": [14, 14]}, {"type": "gmm", "components": 9}],
    "2L": [
        {"type": "folding", "kernel": [5, 5], "stride": [3, 3]},
        {"type": "gmm", "components": 9},
        {"type": "folding", "kernel": [4, 4]},
        {"type": "gmm", "components": 4},
    ],
    "3L": [
        {"type": "folding", "kernel": [3, 3]},
        {"type": "gmm", "components": 9},
        {"type": "pooling", "kernel": [2, 2], "stride": [2, 2]},
        {"type": "folding", "kernel": [3, 3]},
        {"type": "gmm", "components": 4},
        {"type": "folding", "kernel": [4, 4]},
        {"type": "gmm", "components": 4},
    ],
    "factors": [{"type": "folding", "kernel": [14, 14]}, {"type": "gmm", "components": 4, "factors": 2}],
    "own": [
        {"type": "folding", "kernel": [7, 7], "stride": [7, 7]},
        {"type": "gmm", "components": 4, "shared": False},
    ],
    "tiles": [{"type": "folding", "kernel": [3, 3]}, {"type": "gmm", "components": 4}],
}
BOTH = {"float64": Tolerance(rtol=1e-12, atol=1e-12), "float32": Tolerance(rtol=2e-5, atol=2e-6)}


def images() -> Tensor:
    return load(made(DatasetOptions, {"name": "mnist_sample", "limit": 100})).train.images[:, ::2, ::2].contiguous()


def trainer(name: str, dtype: str, replicas: int = 1, **changes: Any) -> Trainer:
    generators = [torch.Generator().manual_seed(seed) for seed in range(replicas)]
    models = [DCGMM.build((14, 14, 1), SMALL[name]) for _ in generators]
    for model, generator in zip(models, generators, strict=True):
        model.draw_start(generator)
    model = models[0] if replicas == 1 else DCGMM.side_by_side(models)
    tile = {"tile": [8, 9]} if name == "tiles" else {}
    options = made(TrainerOptions, {**OPTIONS, "factor_epochs": 1.0, **tile, **changes})
    return Trainer(model.to(getattr(torch, dtype)), images(), options, generators)


def trained(name: str, dtype: str, replicas: int = 1, resumed_at: int | None = None) -> dict[str, Any]:
    """Parameters and reports after a training, maybe one that goes on from a state of another one."""
    subject = trainer(name, dtype, replicas)
    if resumed_at is not None:
        stopped = subject
        for _ in range(resumed_at):
            stopped.step()
        subject = trainer(name, dtype, replicas)
        subject.model.load_state_dict(stopped.model.state_dict())
        subject.load_state_dicts(stopped.state_dicts())
    reports = []
    while subject.steps < subject.total_steps:
        reports += subject.step() or []
    if replicas == 1:
        weights_by_use(subject.model, images(), Processes.current())
    return {"parameters": subject.model.state_dict(), "reports": reports, "sigma": subject.sigma()}


def many(calls: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Several trainings, one after the other: processes are slow to start."""
    return [trained(*call) for call in calls]


def assert_close(one: dict[str, Any], other: dict[str, Any], dtype: str) -> None:
    for name, value in one["parameters"].items():
        pair = value, other["parameters"][name]
        if name.endswith("factors"):  # a basis of which rounding may decide: what they span is told apart
            pair = pair[0] @ pair[0].mT, pair[1] @ pair[1].mT
        torch.testing.assert_close(*pair, **BOTH[dtype])


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["sigma"] == other["sigma"]
    for name, value in one["parameters"].items():
        assert torch.equal(value, other["parameters"][name]), name


QUICK = [*((name, "float64") for name in SMALL), ("3L", "float32")]
ALL = [(name, dtype) for name in SMALL for dtype in BOTH]


def compare(size: int, calls: list[tuple[str, str]]) -> None:
    alone = many(calls)
    found = together(size, many, calls)
    for number, (call, expected) in enumerate(zip(calls, alone, strict=True)):
        ours = [each[number] for each in found]
        for other in ours[1:]:
            assert_same(ours[0], other)
            assert ours[0]["reports"] == other["reports"]
        assert_close(ours[0], expected, call[1])
        assert len(expected["reports"]) == 7
        assert ours[0]["sigma"] == expected["sigma"]


def test_two_processes_make_the_model_of_one() -> None:
    compare(2, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 4])
def test_more_processes_make_the_model_of_one(size: int) -> None:
    compare(size, ALL)


@NEEDS_COMPILER
@pytest.mark.parametrize("name", ["1L", pytest.param("3L", marks=pytest.mark.slow)])
def test_two_processes_of_one_thread_make_the_bits_of_one_of_two(name: str) -> None:
    (alone,) = together(1, steps_alone, name, threads=2)
    for found in together(2, steps_alone, name):
        for key, value in alone.items():
            assert torch.equal(value, found[key]), key


def steps_alone(name: str) -> Any:
    subject = trainer(name, "float32")
    while subject.steps < subject.total_steps:
        subject.step()
    return subject.model.state_dict()


def resumed() -> Any:
    whole, stopped = trained("2L", "float32"), trained("2L", "float32", resumed_at=9)
    return whole, stopped, trained("2L", "float64", replicas=2)


def test_a_resumed_training_makes_the_same_bits_and_models_side_by_side_are_trained_too() -> None:
    alone = trained("2L", "float64", replicas=2)
    for whole, stopped, side_by_side in together(2, resumed):
        assert_same(whole, stopped)
        assert_close(side_by_side, alone, "float64")


def refused() -> list[str]:
    rank = Processes.current().rank

    def error(call: Any) -> str:
        try:
            call()
        except InputError as error:
            return str(error)
        return "nothing"

    def begin(name: str, **changes: Any) -> Any:
        subject = trainer(name, "float64", **changes)
        if name == "2L" and rank == 1:
            subject.model.gmms["gmm2"].loc.data += 1e-9
        return subject.step

    others = error(lambda: begin("1L", batch_size=10 + rank * 10)())
    model = DCGMM.build((14, 14, 1), SMALL["1L"])
    data = images().flip(0) if rank == 1 else images()
    return [
        error(lambda: trainer("1L", "float64", batch_size=25)),
        others,
        error(lambda: begin("2L")()),
        error(lambda: fit(model, data, steps=3, batch_size=10)),
        error(lambda: fit(model, images(), steps=3, batch_size=10, seed=rank)),
    ]


def test_what_cannot_be_is_refused_by_all_processes() -> None:
    first, second = together(2, refused)
    assert first == second
    uneven, options, start, data, seeds = first
    check_names(uneven, "batch_size", 2, 25)
    for text, what in ((options, "options of training"), (start, "start values"), (data, "training images")):
        assert text.startswith("process 1 (")
        assert f"has other {what} than process 0 (" in text
    assert "start values and shuffling" in seeds


def fitted() -> Any:
    model = DCGMM.build((14, 14, 1), SMALL["1L"])
    history = fit(model, images(), steps=12, batch_size=10, annealing=ANNEALING)
    return model.state_dict(), history.layers["gmm1"]


def test_fit_trains_together_too() -> None:
    (expected, reports), (found, same), (other, _) = fitted(), *together(2, fitted)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **BOTH["float32"])
        assert torch.equal(found[name], other[name])
    assert [report.sigma for report in same] == [report.sigma for report in reports]
