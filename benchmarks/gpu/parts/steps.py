"""Time of a step: eager, as a graph, with window ends; of replicas, and of other batch sizes."""

import torch

from dcgmm.training import Trainer

from .shared import Notes, Row, anneal, graph_of, host_time, images_of, is_cuda, make_trainer, per_call, use_graphs

# The goals first, what matters less behind.
PLAN = (
    *(("2L-c", 1), ("3L-a", 1), ("2L-c", 10), ("3L-a", 10), ("1L", 1), ("tiles-400", 1), ("2L-c", 50)),
    *(("2L-a", 1), ("2L-b", 1), ("2L-d", 1), ("3L-b", 1), ("1L", 10), ("3L-a", 50)),
)


def run(note: Notes, device: torch.device, quick: bool) -> None:
    images = images_of().to(device)
    calls = 5 if quick else 300
    for arch, replicas in PLAN[:2] if quick else PLAN:
        name = f"{arch} x {replicas}"
        row: Row = {}
        with note.attempt(name):
            few = max(3, calls // (1 if replicas == 1 else 5))
            trainer = make_trainer(arch, images, device, replicas=replicas, window=10**9)
            use_graphs(trainer, False)
            row["eager (us)"] = per_call(trainer.step, device, max(3, few // 5))
            note[name] = row
            if is_cuda(device):
                use_graphs(trainer, True)
                _as_graph(row, trainer, device, few)
            trainer = make_trainer(arch, images, device, replicas=replicas, window=33)
            row["with window ends (us)"] = per_call(trainer.step, device, 33 * max(1, few // 33), warm=33)
            without = row.get("graph (us)", row["eager (us)"])
            row["a window's end (us)"] = 33 * (row["with window ends (us)"] - without)
            row["15,000 steps (s)"] = 15_000e-6 * row["with window ends (us)"]
            row["an epoch's start (us)"] = per_call(
                lambda trainer=trainer: trainer._batches.prepare(0), device, 3, warm=1
            )
            if replicas > 1 and f"{arch} x 1" in note.found:
                row["times one"] = row["with window ends (us)"] / note.found[f"{arch} x 1"]["with window ends (us)"]
        note.show(name, row)
    for batch in (10, 1000):
        with note.attempt(f"2L-c at batch {batch}"):
            trainer = make_trainer("2L-c", images, device, batch=batch, window=10**9)
            note[f"2L-c at batch {batch} (us)"] = per_call(trainer.step, device, max(3, calls // 2), warm=6)


def _as_graph(row: Row, trainer: Trainer, device: torch.device, calls: int) -> None:
    row["graph (us)"] = per_call(trainer.step, device, calls, warm=6)
    if graph := graph_of(trainer):
        # Each replay takes the next batch: an epoch has so many, and no step draws another.
        position = trainer._batches._position
        position.zero_()
        row["graph alone (us)"] = per_call(graph.replay, device, min(calls, trainer.steps_per_epoch // 8))
        position.fill_(trainer.steps % trainer.steps_per_epoch)
        row["host's part of a step (us)"] = host_time(trainer.step, device)
    row["graph captured"] = graph_of(trainer) is not None
    anneal(trainer)
    row["graph, annealed (us)"] = per_call(trainer.step, device, calls, warm=6)
    if is_cuda(device):
        row["memory reserved (MB)"] = torch.cuda.memory_reserved(device) / 1e6
