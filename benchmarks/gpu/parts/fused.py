"""The fused passes: against tensors and float64, and by products of float32 as such; the time of all."""

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import torch

from dcgmm.model import fused, native
from dcgmm.training import Trainer

from .shared import Notes, Row, anneal, gap, graph_of, images_of, is_cuda, make_trainer, per_call, same, state

PRECISIONS = ("tf32x3", "ieee")


def run(note: Notes, device: torch.device, quick: bool) -> None:
    note["triton"] = _version()
    note["available"] = is_cuda(device) and fused.available(device)
    print("   Triton", note.found["triton"], "available" if note.found["available"] else "not available")
    images = images_of(6000).to(device)
    plan = (("2L-c", 1), ("3L-a", 1), ("1L", 1), ("2L-c", 10), ("tiles-400", 1), ("3L-a", 10))
    for arch, replicas in plan[:1] if quick else plan:
        row: Row = {}
        with note.attempt(f"{arch} x {replicas}"):
            _compare(row, arch, replicas, images, device, quick)
        note.show(f"{arch} x {replicas}", row)


def _version() -> str | None:
    return None if importlib.util.find_spec("triton") is None else str(importlib.import_module("triton").__version__)


@contextlib.contextmanager
def _only(fused_passes: bool, precision: str = fused.PRECISION) -> Iterator[None]:
    """With the fused passes or without them; compiled ones for a CPU are left out, too."""
    kept = fused.takes, fused.contracts, fused.gathers, native.takes, fused.PRECISION
    if not fused_passes:
        fused.takes = fused.contracts = fused.gathers = lambda *given: False
    native.takes = lambda *given: False
    fused.PRECISION = precision
    try:
        yield
    finally:
        fused.takes, fused.contracts, fused.gathers, native.takes, fused.PRECISION = kept


def _compare(row: Row, arch: str, replicas: int, images: Any, device: torch.device, quick: bool) -> None:
    given = {"replicas": replicas, "batch": 10 if quick else 100, "window": 10**9, "centroid_epochs": 0.0}
    steps, calls = (3, 3) if quick else (30, 300)

    def trained(**more: Any) -> Trainer:
        trainer = make_trainer(arch, images, device, **given, **more)
        for _ in range(steps):
            trainer.step()
        return trainer

    with _only(False):
        exact = state(trained(dtype=torch.float64))
        tensors = trained()
        row["tensors, against float64"] = gap(state(tensors), exact)
        row["tensors (us)"] = per_call(tensors.step, device, calls, warm=6)
    for precision in PRECISIONS[:1] if quick else PRECISIONS:
        with _only(True, precision):
            trainer, again = trained(), trained()
            found = {
                "against float64": gap(state(trainer), exact),
                "repeats itself": same(state(trainer), state(again)),
            }
            found["(us)"] = per_call(trainer.step, device, calls, warm=6)
            found["graph captured"] = graph_of(trainer) is not None
            anneal(trainer)
            found["annealed (us)"] = per_call(trainer.step, device, calls, warm=6)
            row[precision] = found
