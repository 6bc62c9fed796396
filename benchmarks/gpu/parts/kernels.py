"""Kernels of one eager step, by name, and of a window's end."""

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .factors import ARCHITECTURE
from .shared import Notes, Row, anneal, images_of, is_cuda, make_trainer, sync, with_factors


def run(note: Notes, device: torch.device, quick: bool) -> None:
    images = images_of()
    for arch, replicas in (("2L-c", 1), ("3L-a", 1), ("2L-c", 10), ("tiles-400", 1), ("3L-a", 10)):
        if quick and (replicas > 1 or arch == "tiles-400"):
            continue
        name = f"{arch} x {replicas}"
        with note.attempt(name):
            trainer = make_trainer(arch, images, device, replicas=replicas, window=10**9, graphs=False)
            found = {"step": table(trainer.step, device)}
            anneal(trainer)
            found["step, annealed"] = table(trainer.step, device)
            ending = make_trainer(arch, images, device, replicas=replicas, window=1, graphs=False)
            found["step and window's end"] = table(ending.step, device)
            _show(note, name, found)
    with note.attempt(ARCHITECTURE.name):
        trainer = with_factors(ARCHITECTURE, images, device, graphs=False)
        _show(note, ARCHITECTURE.name, {"step, third phase": table(trainer.step, device)})


def table(run: Callable[[], Any], device: torch.device) -> Row:
    """Number and time of the kernels of a call, on the CPU of its operations."""
    cuda = is_cuda(device) and torch.cuda.is_available()
    for _ in range(4):
        run()
    sync(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
        run()
        sync(device)
    rows: dict[str, list[float]] = {}
    for event in profiler.events():
        if cuda and not str(getattr(event, "device_type", "")).endswith("CUDA"):
            continue
        row = rows.setdefault(event.name[:150], [0, 0.0])
        row[0] += 1
        row[1] += event.time_range.elapsed_us() if cuda else event.self_cpu_time_total
    ordered = sorted(rows.items(), key=lambda item: -item[1][1])
    return {
        "kernels": sum(row[0] for row in rows.values()),
        "time on the device (us)": sum(row[1] for row in rows.values()),
        "by name": [[name, int(count), round(time, 2)] for name, (count, time) in ordered[:60]],
    }


def _show(note: Notes, name: str, found: dict[str, Row]) -> None:
    note[name] = found
    parts = [f"{key}: {row['kernels']} kernels, {row['time on the device (us)']:.0f} us" for key, row in found.items()]
    print(f"   {name}: " + ", ".join(parts))
