"""Training steps of several processes beside those of one.

    OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node=2 benchmarks/processes.py [ARCHITECTURE ...]

Rounds of the two alternate, and the least of each counts: other work on the machine can only lengthen them. CPU time is
that of one process, with the threads that it exchanges by.
"""

import argparse
import time
from collections.abc import Callable

import torch

import dcgmm
from dcgmm.distributed import ALONE, Processes, joined
from dcgmm.training import Trainer, TrainerOptions

SECONDS = 0.05  # of a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", default=["1L", "2L-c", "3L-a"])
    parser.add_argument("--batches", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with joined() as processes:
        if processes.is_first:
            print(f"{processes.size} processes of one thread; least of {asked.rounds} rounds, ms a step")
            print("architecture, batch, kB exchanged | CPU time alone, of each, of the exchange | the same of time")
        for name in asked.architectures:
            for batch in asked.batches:
                measure(name, batch, asked.rounds, processes)


def measure(name: str, batch: int, rounds: int, processes: Processes) -> None:
    together, alone = trainer(name, batch, processes), trainer(name, batch, ALONE)
    sizes = sum(2 * gmm.loc.numel() + gmm.logits.numel() + 1 for gmm in together.model.gmms.values())
    buffer = torch.zeros(sizes)
    count = steps_in(alone, processes)
    alone_s, together_s, exchange_s = [], [], []
    for _ in range(rounds):
        if processes.is_first:
            alone_s.append(timed(alone.step, count))
        processes.gathered(0)  # the others wait for it
        together_s.append(timed(together.step, count))
        processes.gathered(0)
        exchange_s.append(timed(lambda: processes.summed([buffer]), 10))
    if processes.is_first:
        kinds = (alone_s, together_s, exchange_s)
        clocks = [[1e3 * min(each) for each in zip(*kind, strict=True)] for kind in kinds]
        cpu, wall = (" ".join(f"{row[clock]:10.3f}" for row in clocks) for clock in (0, 1))
        print(f"{name:12}  {batch:5}  {buffer.nbytes / 1e3:14.0f} |{cpu}  |{wall}", flush=True)


def trainer(name: str, batch: int, processes: Processes) -> Trainer:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10 * batch, 28, 28, 1), generator=generator, dtype=torch.uint8)
    model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch(name))
    model.draw_start(generator)
    return Trainer(model, images, TrainerOptions(batch_size=batch, centroid_epochs=0), [generator], processes)


def steps_in(subject: Trainer, processes: Processes) -> int:
    """Steps of a round: the same in all processes."""
    subject.step()
    return int(processes.from_first(lambda: max(1, round(SECONDS / timed(subject.step, 2)[1]))))


def timed(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Seconds of CPU, and of time, of one of so many calls."""
    cpu, started = time.process_time(), time.perf_counter()
    for _ in range(count):
        call()
    return (time.process_time() - cpu) / count, (time.perf_counter() - started) / count


if __name__ == "__main__":
    main()
