"""One point of a curve of `scale.py`, in a process of its own: training steps timed, and the largest memory.

python benchmarks/scale_step.py '{"layers": [...], "side": 28, ...}'    # or by torchrun, for several processes
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dcgmm  # before torch: it sets what that reads when it is loaded

# isort: split
import numpy as np
import torch
from numpy.typing import NDArray

from dcgmm.distributed import Processes, joined
from dcgmm.model import DCGMM
from dcgmm.model.layers import described
from dcgmm.training import Trainer, TrainerOptions

AT_A_TIME = 2**24  # bytes of images that are generated together
COLD_STEPS = 30  # of data that are not in memory yet: with more steps they would be


@dataclass(frozen=True)
class Step:
    """What is timed.

    Args:
        layers: of the model.
        side: height and width of the images, of one channel.
        images: so many; their values are random.
        batch: images a step, of all processes.
        annealing: whether the layers are smoothed, as a training begins; else as it goes on.
        source: memory, or a file that is mapped: warm (all of it was read before) or cold.
        block_shuffle: as the trainer's.
        threads: of each process; None: all cores.
        seconds: that are spent on timing.
    """

    layers: list[dict[str, Any]]
    side: int = 28
    images: int = 10_000
    batch: int = 100
    annealing: bool = False
    source: str = "memory"
    block_shuffle: int | None = None
    threads: int | None = None
    seconds: float = 1.5


def main() -> None:
    asked = Step(**json.loads(sys.argv[1]))
    if asked.threads:
        torch.set_num_threads(asked.threads)
    with joined() as processes:
        found = measure(asked, processes)
        if processes.is_first:
            print(json.dumps(found))


def measure(asked: Step, processes: Processes) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(asked, data_of(asked, Path(folder)), processes)
        read = faults()
        if asked.source == "cold":
            times, cpu = timed(trainer, COLD_STEPS)
            seconds = statistics.fmean(times)  # the first ones read most
        else:
            one = min(timed(trainer, 5)[0])
            # Of several processes all take as many steps as the first one has time for.
            count = processes.from_first(lambda: max(5, round(asked.seconds / one)))
            times, cpu = timed(trainer, count)
            seconds = statistics.median(times)
        read = faults() - read
    flops = step_flops(trainer.model, asked.batch)
    found = {"ms": 1e3 * seconds, "CPU ms": 1e3 * cpu, "MFLOP": flops / 1e6, "GFLOP/s": flops / seconds / 1e9}
    return found | {"read faults": read} | memory()


def timed(trainer: Trainer, count: int) -> tuple[list[float], float]:
    """Times of so many steps (s), and the CPU time that one takes in the mean."""
    times, cpu = [], time.process_time()
    for _ in range(count):
        started = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - started)
    return times, (time.process_time() - cpu) / count


def faults() -> int:
    """Pages that had to be read from a disk so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def step_flops(model: DCGMM, batch: int) -> float:
    """FLOPs of the scores' products: x and x^2 with K components. The sums by winner are few beside them."""
    return float(sum(4 * batch * gmm.input_shape.positions * gmm.loc.numel() for gmm in model.gmms.values()))


def trainer_of(asked: Step, images: torch.Tensor, processes: Processes) -> Trainer:
    generator = torch.Generator().manual_seed(0)
    model = DCGMM.build((asked.side, asked.side, 1), described(asked.layers))
    model.draw_start(generator)
    # A floor that no sigma is above: layers are annealed from the start.
    annealing = {} if asked.annealing else {"sigma_end": 1e3}
    how = {"batch_size": asked.batch, "centroid_epochs": 0, "annealing": annealing}
    return Trainer(model, images, TrainerOptions(**how, block_shuffle=asked.block_shuffle), [generator], processes)


def data_of(asked: Step, folder: Path) -> torch.Tensor:  # (N, H, W, 1)
    shape = (asked.images, asked.side, asked.side)
    if asked.source == "memory":
        images, first = np.empty(shape, np.uint8), 0
        for some in pieces(shape):
            images[first : first + len(some)] = some
            first += len(some)
        return torch.from_numpy(images).unsqueeze(-1)
    path = folder / "images.npy"
    write(path, shape)
    if asked.source == "cold":
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    data = dcgmm.datasets.load("arrays", path=path, test_fraction=0.0)
    if asked.source == "warm":
        data.train.images.amax()
    return data.train.images


def write(path: Path, shape: tuple[int, int, int]) -> None:
    """A file of random images, some at a time: a map of it would count as memory."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for some in pieces(shape):
            some.tofile(file)


def pieces(shape: tuple[int, int, int]) -> Iterator[NDArray[np.uint8]]:
    """Random images (N, H, W), some at a time."""
    rng, (count, *rest) = np.random.default_rng(0), shape
    many = max(1, AT_A_TIME // (rest[0] * rest[1]))
    for first in range(0, count, many):
        yield rng.integers(0, 256, (min(many, count - first), *rest), np.uint8)


def memory() -> dict[str, float]:
    """Largest memory (MB), and of it what are pages of files at the end: of libraries (150 MB), and of mapped data."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, files = (int(lines[name].split()[0]) / 1e3 for name in ("VmHWM", "RssFile"))
    return {"own MB": peak - files, "file MB": files}


if __name__ == "__main__":
    main()
