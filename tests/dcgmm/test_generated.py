"""Whatever is given, the library takes it or refuses it as a mistake in what was given."""

import contextlib
import copy
import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcgmm.checkpoints import load_run, write_state
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT, DETECTOR, parse_json
from dcgmm.model import DCGMM
from dcgmm.options import made
from dcgmm.outliers import Detector
from dcgmm.states import model_state
from dcgmm.training import Trainer, TrainerOptions
from dcgmm.training.weights import weights_by_use
from tests.conftest import uniform
from tests.generated import NUMBERS, VALUES, examples

SMALL = st.integers(1, 4)
PAIR = st.one_of(st.none(), st.lists(SMALL, min_size=2, max_size=2), st.lists(NUMBERS, max_size=3))
WINDOWS = st.fixed_dictionaries({"type": st.sampled_from(["folding", "pooling"]), "kernel": PAIR, "stride": PAIR})
SQUARES = st.sampled_from([1, 4, 9])
MIXTURES = st.fixed_dictionaries(
    {"type": st.just("gmm"), "components": st.one_of(SQUARES, NUMBERS), "factors": st.one_of(st.none(), SMALL, NUMBERS)}
)
FITTING = st.builds(
    lambda kernel, stride, components, factors: [
        {"type": "folding", "kernel": kernel, "stride": stride},
        {"type": "gmm", "components": components, "factors": factors},
    ],
    st.lists(SMALL, min_size=2, max_size=2),
    st.lists(SMALL, min_size=2, max_size=2),
    SQUARES,
    st.sampled_from([None, None, 1, 2]),
)
POOLING = st.builds(
    lambda kernel: [{"type": "pooling", "kernel": kernel}], st.lists(st.integers(1, 2), min_size=2, max_size=2)
)
STACKS = st.one_of(
    st.lists(st.one_of(FITTING, POOLING), min_size=1, max_size=4).map(
        lambda parts: [each for part in parts for each in part]
    ),
    st.lists(st.one_of(WINDOWS, MIXTURES), max_size=4),
)
ANNEALING = st.fixed_dictionaries({}, optional=dict.fromkeys(("alpha", "delta", "gamma", "sigma_end"), NUMBERS))
RATES = st.fixed_dictionaries({}, optional=dict.fromkeys(("start", "end", "logits", "loc", "factors"), NUMBERS))
TRAINING = st.fixed_dictionaries(
    {"epochs": st.just(2), "batch_size": SMALL},
    optional={
        "annealing": ANNEALING,
        "learning_rate": RATES,
        "centroid_epochs": NUMBERS,
        "factor_epochs": NUMBERS,
        "weights_by_use": st.one_of(st.booleans(), NUMBERS),
    },
)


@examples(60)
@given(STACKS, st.tuples(SMALL, st.integers(1, 9), st.integers(1, 3)), TRAINING, st.booleans())
def test_every_stack_trains_or_is_refused(
    layers: list[dict[str, Any]], shape: tuple[int, int, int], how: dict[str, Any], exact: bool
) -> None:
    with contextlib.suppress(InputError):
        model = DCGMM.build(shape, layers).to(torch.float64 if exact else torch.float32)
        generator = torch.Generator().manual_seed(0)
        model.draw_start(generator)
        images = uniform(6, *shape).float()
        trainer = Trainer(model, images, made(TrainerOptions, how), [generator])
        while trainer.steps < min(6, trainer.total_steps):
            trainer.step()
        trainer.state_dicts()  # refuses what is not finite
        weights_by_use(model, images)
        for name, values in Detector.fit(model, images).scores(images).items():
            assert values.isfinite().all(), name


@functools.cache
def run_state() -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's checkpoint and its detector."""
    model = DCGMM.build((4, 4, 1), [{"type": "folding", "kernel": [2, 2]}, {"type": "gmm", "components": 4}])
    images = uniform(6, 4, 4, 1).float()
    generator = torch.Generator().manual_seed(0)
    model.draw_start(generator)
    trainer = Trainer(model, images, TrainerOptions(epochs=1, batch_size=3), [generator])
    trainer.step()
    detector = Detector.fit(model, images).state_dict()
    state = {
        "model": model_state(model),
        "training": trainer.state_dicts()[0],
        "config": {"seed": 0},
        "class_names": ["a"],
    }
    return state, {"detector": detector}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a state."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))][0 if path else 1 :]


def damage(state: dict[str, Any], place: tuple[Any, ...], how: Any) -> dict[str, Any]:
    """The state with another value at a place, or what a function makes of the tensor there; () removes it."""
    changed = copy.deepcopy(state)
    node: Any = changed
    for key in place[:-1]:
        node = node[key]
    if how == ():
        node.pop(place[-1])
    elif callable(how):
        node[place[-1]] = how(node[place[-1]]) if isinstance(node[place[-1]], torch.Tensor) else None
    else:
        node[place[-1]] = how
    return changed


CHANGES = st.one_of(
    st.just(()),
    VALUES,
    st.sampled_from(
        [
            lambda tensor: tensor.unsqueeze(0),
            lambda tensor: tensor.reshape(-1)[:0],
            lambda tensor: tensor.long(),
            lambda tensor: tensor.double() * math.nan,
            lambda tensor: -tensor.double(),
            lambda tensor: tensor.reshape(-1)[:1].expand(10**12),
            lambda tensor: tensor.to(torch.complex64),
        ]
    ),
)


@examples(60)
@given(st.data())
def test_every_damaged_checkpoint_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.getbasetemp() / "damaged_checkpoints"
    state, detector = run_state()
    state = damage(state, data.draw(st.sampled_from(places(state))), data.draw(CHANGES))
    detector = damage(detector, data.draw(st.sampled_from(places(detector))), data.draw(CHANGES))
    with contextlib.suppress(UnicodeEncodeError):  # nor could it be written
        write_state(directory / CHECKPOINT, state)
        write_state(directory / DETECTOR, detector)
    with contextlib.suppress(InputError):
        run = load_run(directory)
        assert run.model.log_prob(torch.rand(2, 4, 4, 1)).isfinite().all()
        scores = run.detector().scores(torch.rand(2, 4, 4, 1))
        assert all(values.isfinite().all() for values in scores.values())


@examples(100)
@given(st.one_of(st.text(max_size=40), st.text('[]{}",:0123456789eE+-.\\ud \n', max_size=40)))
def test_every_text_is_json_or_is_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_json(text, "text")
