"""What the parts share: notes on disk, times of calls, images, trainers."""

import contextlib
import json
import math
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dcgmm  # before torch: it sets what that reads when it is loaded

# isort: split
import torch
from torch import Tensor

from dcgmm.datasets import load
from dcgmm.datasets.catalogue import KNOWN
from dcgmm.datasets.files import find_file, folder_of
from dcgmm.model import DCGMM, Architecture
from dcgmm.training import Trainer, TrainerOptions

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = float(os.environ.get("GPU_CHECK_PATIENCE", "1"))  # factor on all limits of time, for a slow machine
CPU = torch.device("cpu")

Row = dict[str, Any]


class Notes:
    """Results of a part, on disk after every entry."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, Row()

    def __setitem__(self, key: str, value: Any) -> None:
        self.found[key] = value
        self.path.write_text(json.dumps(self.found, indent=1, default=str))

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Note a failure, and go on."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            where = [
                f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
            ]
            text = f"{type(error).__name__}: {str(error)[:600]} at {' < '.join(reversed(where[-5:]))}"
            self["failed"] = {**self.found.get("failed", {}), what: text}
            print(f"   FAILED {what}: {text[:300]}")
        self["took (s)"] = {**self.found.get("took (s)", {}), what: round(time.perf_counter() - started, 2)}

    def show(self, name: str, row: Row) -> None:
        """Note a row and print its numbers."""
        self[name] = row
        numbers = [f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, int | float)]
        print(f"   {name}: {', '.join(numbers)}")


def is_cuda(device: torch.device) -> bool:
    return device.type == "cuda"


def sync(device: torch.device) -> None:
    if is_cuda(device):
        torch.cuda.synchronize(device)


def per_call(run: Callable[[], Any], device: torch.device, calls: int, warm: int = 3) -> float:
    """Mean time of a call (us), the calls queued one behind the other: the best of three rounds."""
    for _ in range(warm):
        run()
    best = math.inf
    for _ in range(3):
        sync(device)
        started = time.perf_counter()
        for _ in range(calls):
            run()
        sync(device)
        best = min(best, time.perf_counter() - started)
    return 1e6 * best / calls


def host_time(run: Callable[[], Any], device: torch.device, calls: int = 30) -> float:
    """Median time until a call comes back, with little else queued (us)."""
    times = []
    for _ in range(calls):
        sync(device)
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    sync(device)
    return 1e6 * statistics.median(times)


def data_set() -> str:
    """MNIST where its files are on this machine, else the bundled sample; nothing is fetched."""
    known, root = KNOWN["mnist"], Path(os.environ.get("DCGMM_DATA") or "~/.cache/dcgmm").expanduser()
    return "mnist" if all(find_file(folder_of(known, root) / name) for name in known.files) else "mnist_sample"


def images_of(count: int = 60_000) -> Tensor:  # (count, 28, 28, 1), uint8
    """Training images of `data_set`, over and over where there are too few."""
    images = load(data_set()).train.images
    return images.repeat(-(-count // len(images)), 1, 1, 1)[:count].contiguous()


def architecture(arch: str | Architecture) -> Architecture:
    return dcgmm.arch(arch) if isinstance(arch, str) else arch


def make_trainer(
    arch: str | Architecture,
    images: Tensor,
    device: torch.device,
    *,
    replicas: int = 1,
    batch: int = 100,
    window: int = 33,
    dtype: torch.dtype = torch.float32,
    graphs: bool = True,
    centroid_epochs: float = 1.0,
    factor_epochs: float = 10.0,
    **annealing: float,
) -> Trainer:
    """A trainer of one model, or of replicas of seeds 0, 1, ...; `annealing` are fields of AnnealingOptions."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(replicas)]
    models = [DCGMM.build(images.shape[1:], architecture(arch)) for _ in generators]
    for each, generator in zip(models, generators, strict=True):
        each.draw_start(generator)
    model = (models[0] if replicas == 1 else DCGMM.side_by_side(models)).to(device=device, dtype=dtype)
    options = TrainerOptions(
        batch_size=batch,
        centroid_epochs=centroid_epochs,
        factor_epochs=factor_epochs,
        annealing={"alpha": 1 / window, **annealing},  # type: ignore[arg-type]
    )
    trainer = Trainer(model, images.to(device), options, generators)
    if not graphs:
        use_graphs(trainer, False)
    return trainer


def use_graphs(trainer: Trainer, use: bool) -> None:
    """Whether steps and windows' ends are captured from now on; graphs that there are go."""
    for graphs in (trainer._step_graph, trainer._end_graph):
        graphs._capture, graphs._graph = use, None


def with_factors(arch: str | Architecture, images: Tensor, device: torch.device, **given: Any) -> Trainer:
    """A trainer whose layers have their factors from the first step on: annealed, and not held unless told so."""
    given = {"centroid_epochs": 0.0, "factor_epochs": 0.0, "sigma_end": 100.0, "window": 10**9} | given
    return make_trainer(arch, images, device, **given)


def anneal(trainer: Trainer, annealed: bool = True) -> None:
    for layer in trainer._layers.values():
        layer.annealed = annealed


def graph_of(trainer: Trainer) -> Any:
    """The step's CUDA graph, None where there is none."""
    return getattr(trainer._step_graph, "_graph", None)


def state(trainer: Trainer) -> dict[str, Tensor]:
    """Parameters on the CPU; of factors what they are unique in, G G^T (eigenvectors have no sign of their own)."""
    found = {name: value.detach().cpu().clone() for name, value in trainer.model.state_dict().items()}
    return {name: value @ value.mT if name.endswith("factors") else value for name, value in found.items()}


def gap(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest difference of two states, over the largest value of each tensor."""
    return max(
        float((one[name].double() - value.double()).abs().max() / value.double().abs().max().clamp(min=1e-9))
        for name, value in other.items()
    )


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are, bit for bit."""
    return all(torch.equal(value, other[name]) for name, value in one.items())
