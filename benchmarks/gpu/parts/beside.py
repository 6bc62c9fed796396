"""What goes on beside the steps: images that stay on the host, checkpoints, sharpening, sums and clusters."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from dcgmm.background import on_host
from dcgmm.clustering import dunn_index
from dcgmm.generation import SharpeningOptions, sharpening
from dcgmm.generation.ascent import ascent_of
from dcgmm.generation.cumulative import running_sums
from dcgmm.generation.sharpening import sharpen_output
from dcgmm.model import DCGMM
from dcgmm.states import model_states
from dcgmm.training import Trainer, batches

from .shared import CPU, Notes, Row, images_of, make_trainer, per_call, same, state, sync


def run(note: Notes, device: torch.device, quick: bool) -> None:
    images = images_of(600 if quick else 60_000)
    for what in (_images_on_the_host, _checkpoints, _sharpening, _sums, _clusters):
        with note.attempt(what.__name__):
            note.show(what.__name__.strip("_").replace("_", " "), what(device, images, quick))


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


def _images_on_the_host(device: torch.device, images: torch.Tensor, quick: bool) -> Row:
    """The same bits as from the device, and what it costs."""
    steps = 8 if quick else 700  # past an epoch's end
    row, found = Row(), []
    for where in ("device", "host"):
        with replaced(batches, "fits", lambda *_, where=where: where == "device"):
            made = make_trainer("2L-c", images, CPU)
            trainer = Trainer(made.model.to(device), images, made.options, made._generators)
            for _ in range(steps):
                trainer.step()
            found.append(state(trainer))
            row[f"a step, images on the {where} (us)"] = per_call(trainer.step, device, 3 if quick else 330)
    row["the same bits"] = same(*found)
    return row


def _checkpoints(device: torch.device, images: torch.Tensor, quick: bool) -> Row:
    """How long a snapshot keeps the main thread, with a queue of steps before it; and whether it is of its time."""
    trainer = make_trainer("3L-a", images, device, window=10**9)
    for _ in range(6):
        trainer.step()
    sync(device)
    for _ in range(2 if quick else 100):
        trainer.step()
    started = time.perf_counter()
    content = model_states(trainer.model), trainer.state_dicts(checked=False), trainer.finite()
    copy, wait = on_host(content)
    row: Row = {"the main thread (us)": 1e6 * (time.perf_counter() - started)}
    parameters = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(2 if quick else 10):
        trainer.step()
    wait()
    row["until it has arrived (us)"] = 1e6 * (time.perf_counter() - started)
    arrived = copy[0][0]["parameters"]
    row["of its time"] = all(torch.equal(arrived[name], each.cpu()) for name, each in parameters.items())
    return row


def _sharpening(device: torch.device, images: torch.Tensor, quick: bool) -> Row:
    """As graphs and eagerly: the same bits, and the time of a step; gradients of windows that overlap."""
    model = make_trainer("3L-a", images[:200], device).model
    name = next(iter(model.foldings))
    start = torch.rand(100, *model.foldings[name].input_shape, generator=torch.Generator().manual_seed(0)).to(device)
    row, found, graphs = Row(), [], []

    class Watched(sharpening.Graphs):
        def __init__(self, where: torch.device) -> None:
            super().__init__(where)
            graphs.append(self)

    class Eager(sharpening.Graphs):
        def __init__(self, _: torch.device) -> None:
            super().__init__(CPU)

    steps = SharpeningOptions(iterations=5 if quick else 200).steps(model.architecture.sharpening)
    for kind, how in (("graphs", Watched), ("eager", Eager)):
        with replaced(sharpening, "Graphs", how):
            for _ in range(2):
                sync(device)
                started = time.perf_counter()
                found.append(sharpen_output(model, name, start, steps).signal)
                sync(device)
            row[f"a step, {kind} (us)"] = 1e6 * (time.perf_counter() - started) / steps.iterations
    row["captured"] = graphs[-1]._graph is not None
    row["the same bits, each time"] = all(torch.equal(found[0], each) for each in found[1:])
    pooling = {"type": "pooling", "kernel": [3, 3], "stride": [2, 2]}
    folding, gmm = {"type": "folding", "kernel": [3, 3]}, {"type": "gmm", "components": 9}
    overlapping = DCGMM.build((28, 28, 1), [folding, gmm, pooling, folding, gmm]).to(device)
    overlapping.draw_start(torch.Generator().manual_seed(0))
    ascent = ascent_of(overlapping, "folding1", "gmm2")
    x = torch.rand(50, 28, 28, 1, generator=torch.Generator().manual_seed(1)).to(device)
    with torch.no_grad():
        row["overlapping windows repeat themselves"] = _repeats(lambda: ascent.gradient(x), 3 if quick else 50)
    return row


def _sums(device: torch.device, images: torch.Tensor, quick: bool) -> Row:
    """Whether cumulative sums in float64 repeat themselves: torch's own, and those that are used."""
    values = torch.rand(5000 if quick else 100_000, dtype=torch.float64, device=device)
    times = 3 if quick else 200
    return {
        "cumsum repeats itself": _repeats(lambda: values.cumsum(0), times),
        "running_sums repeats itself": _repeats(lambda: running_sums(values), times),
    }


def _clusters(device: torch.device, images: torch.Tensor, quick: bool) -> Row:
    """The Dunn index on the device against the CPU."""
    points = images[: 500 if quick else 10_000].flatten(1).float() / 255
    labels = torch.randint(25, (len(points),), generator=torch.Generator().manual_seed(0))
    row, found = Row(), []
    for where in (device, CPU):
        given = points.to(where)
        started = time.perf_counter()
        found.append(dunn_index(given, labels))
        row[f"{len(points)} images on {where.type} (s)"] = time.perf_counter() - started
    row["the same"] = found[0] == found[1]
    return row


def _repeats(call: Callable[[], torch.Tensor], times: int) -> bool:
    first = call()
    return all(torch.equal(call(), first) for _ in range(times))
