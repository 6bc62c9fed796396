"""Replays of a CUDA graph, on a CPU: what a step did on tensors is done again, and nothing of what Python did.

The numbers that Python had when the graph was captured are in it for good: a step that is given others by then would
go on with those of before.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dcgmm.generation import SharpeningOptions, sharpening
from dcgmm.graphs import Graphs
from dcgmm.model import DCGMM, native
from dcgmm.training import AnnealingOptions, Trainer, TrainerOptions, batches
from dcgmm.training import trainer as of_trainer
from dcgmm.training.layer import LayerTraining
from tests.conftest import EXACT, uniform

SMALL: Any = [{"type": "folding", "kernel": [3, 3], "stride": [2, 2]}, {"type": "gmm", "components": 4}]
STACK: Any = [*SMALL, {"type": "pooling", "kernel": [2, 2]}, *SMALL[1:]]
OWN: Any = [SMALL[0], {"type": "gmm", "components": 4, "shared": False}]
FACTORS: Any = [SMALL[0], {"type": "gmm", "components": 4, "factors": 2}]


class Replay(TorchDispatchMode):
    """Notes the operations on tensors, and does them again, on the same tensors and with the same numbers."""

    def __init__(self, step: Callable[[], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's modes have no types
        self._done: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._is_new = True  # to capture a step is not to do it: here it was done
        with self:
            step()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        self._done.append((function, args, kwargs or {}, _tensors(made)))
        return made

    def replay(self) -> None:
        """Do them."""
        again, self._is_new = not self._is_new, False
        for function, args, kwargs, before in self._done if again else []:
            for old, new in zip(before, _tensors(function(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():  # neither in place nor a view
                    old.copy_(new)


def _tensors(made: Any) -> list[Tensor]:
    return [each for each in (made if isinstance(made, tuple | list) else (made,)) if isinstance(each, Tensor)]


class Replayed(Graphs):
    """Captures on a CPU, too."""

    def __init__(self, device: torch.device, capture: bool = True) -> None:
        super().__init__(device)
        self._capture = capture
        self.captured = 0

    def _captured(self, step: Callable[[], None]) -> Any:
        self.captured += 1
        return Replay(step)


# Annealing ends in the third epoch of 20 steps.
HOW = TrainerOptions(batch_size=5, factor_epochs=1, annealing=AnnealingOptions(alpha=0.5, gamma=0.8, delta=1e9))
IMAGES = uniform(100, 7, 7, 1)


def trainer(layers: Any, seeds: int = 1) -> Trainer:
    generators = [torch.Generator().manual_seed(seed) for seed in range(seeds)]
    models = [DCGMM.build((7, 7, 1), layers) for _ in generators]
    for each, generator in zip(models, generators, strict=True):
        each.draw_start(generator)
    model = (models[0] if seeds == 1 else DCGMM.side_by_side(models)).double()
    return Trainer(model, IMAGES, HOW, generators)


def train(subject: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        subject.step()
    return subject


def assert_same(one: Trainer, other: Trainer) -> None:
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(value, other.model.state_dict()[name], **EXACT)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Compiled passes are no operations on tensors: tensors do the work. Once it is called, graphs are replayed."""
    monkeypatch.setattr(native, "takes", lambda *_: False)

    def begin() -> None:
        monkeypatch.setattr(of_trainer, "Graphs", Replayed)
        monkeypatch.setattr(sharpening, "Graphs", Replayed)
        # As on a GPU: the projection comes after what the graph holds.
        monkeypatch.setattr(LayerTraining, "_settles", property(lambda each: getattr(each._gmm, "has_factors", False)))

    return begin


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("layers", [STACK, OWN, FACTORS], ids=["stack", "parameters of each position", "factors"])
def test_replayed_steps_are_those_of_before(layers: Any, seeds: int, replayed: Callable[[], None]) -> None:
    expected = train(trainer(layers, seeds), 100)
    replayed()
    subject = train(trainer(layers, seeds), 100)
    for graphs in (subject._step_graph, subject._end_graph):
        assert isinstance(graphs, Replayed)
        assert graphs.captured > 1
    assert all(layer.annealed for layer in subject._layers.values())
    assert_same(subject, expected)


@pytest.mark.parametrize("steps", [5, 55, 75])  # before the end of the first phase, while annealing, and behind that
@pytest.mark.parametrize("layers", [STACK, FACTORS], ids=["stack", "factors"])
def test_a_training_that_is_set_back_goes_on_from_there(layers: Any, steps: int, replayed: Callable[[], None]) -> None:
    replayed()
    subject = train(trainer(layers), steps)
    model, states = copy.deepcopy(subject.model.state_dict()), copy.deepcopy(subject.state_dicts())
    expected = copy.deepcopy(train(subject, 40).model.state_dict())
    subject.model.load_state_dict(model)
    subject.load_state_dicts(states)
    train(subject, 40)
    for name, value in subject.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], **EXACT)


def test_images_that_come_in_stretches_are_found_where_those_before_lay(
    replayed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(trainer(STACK, 2), 50)
    replayed()
    monkeypatch.setattr(batches, "fits", lambda *_: False)
    monkeypatch.setattr(batches, "STRETCH", 3 * 2 * 5 * 49 * 8)  # three batches of both models
    assert_same(train(trainer(STACK, 2), 50), expected)


def test_replayed_steps_of_sharpening_are_those_of_before(replayed: Callable[[], None]) -> None:
    model = train(trainer(STACK), 30).model
    steps = SharpeningOptions(iterations=8).steps(model.architecture.sharpening)
    given = (model, "folding1", uniform(3, 7, 7, 1, seed=1), steps)
    expected = sharpening.sharpen_output(*given).signal
    replayed()
    torch.testing.assert_close(sharpening.sharpen_output(*given).signal, expected, **EXACT)
