"""A factor-analysing layer through all three phases, CPU against CUDA; which phase a CUDA graph holds, and its cost."""

import logging
import subprocess
import sys
from typing import Any

import torch

from dcgmm.model import Architecture
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.factors import project
from dcgmm.training import Trainer

from .shared import (
    CPU,
    Notes,
    Row,
    gap,
    graph_of,
    images_of,
    is_cuda,
    make_trainer,
    per_call,
    same,
    state,
    with_factors,
)

LAYERS = [{"type": "folding", "kernel": [28, 28]}, {"type": "gmm", "components": 25, "factors": 16}]
ARCHITECTURE = Architecture(LAYERS, name="flat-factors")  # type: ignore[arg-type]
# With 2,000 images in batches of 50 an epoch has 40 steps: centroids alone up to step 20, annealed by then, so that
# factors begin; points are held up to step 60.
HOW: dict[str, Any] = {"window": 5, "centroid_epochs": 0.5, "factor_epochs": 1.0, "gamma": 0.001, "delta": 1e9}
NAMES = {
    (False, False, False): "annealing",
    (True, False, False): "annealed, without factors",
    (True, True, True): "factors, points held",
    (True, True, False): "factors",
}

OPERATIONS = {
    "sort": "key.sort(stable=True)",
    "searchsorted": "torch.searchsorted(key, key[:25])",
    "embedding_bag": "F.embedding_bag(key, x, key[:25] * 0, mode='sum', per_sample_weights=x[:, 0])",
    "cholesky_ex": "torch.linalg.cholesky_ex(matrix)",
    "solve_triangular": "torch.linalg.solve_triangular(matrix, matrix, upper=False)",
    "cholesky_inverse": "torch.cholesky_inverse(matrix)",
    "eigh": "torch.linalg.eigh(matrix)",
}
CAPTURE = f"""
import sys, torch, torch.nn.functional as F
x, key = torch.randn(100, 784, device="cuda"), torch.randint(0, 25, (100,), device="cuda")
matrix = torch.eye(16, device="cuda").repeat(25, 1, 1)
operation = eval("lambda: " + {OPERATIONS}[sys.argv[1]])
for _ in range(3):
    operation()
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    operation()
graph.replay()
torch.cuda.synchronize()
print("captured")
"""


class _Warnings(logging.Handler):
    """What was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a text."""
        self.texts.append(record.getMessage())


def run(note: Notes, device: torch.device, quick: bool) -> None:
    warned = _Warnings()
    logging.getLogger("dcgmm").addHandler(warned)
    images = images_of(2000)
    steps, batch = (200, 50)
    if quick:
        images, steps, batch = images[:200], 70, 5
    how = {**HOW, "batch": batch}
    with note.attempt("float64"):
        runs = [Run(make_trainer(ARCHITECTURE, images, where, dtype=torch.float64, **how)) for where in (device, CPU)]
        ours, theirs = (each.to(steps) for each in runs)
        row: Row = {"phases": ours.phases, "the CPU's phases are the same": list(ours.phases) == list(theirs.phases)}
        row["differences to the CPU at the end of phases"] = ours.against(theirs)
        note.show(f"{steps} steps in float64", row)
    with note.attempt("float32"):
        makers = [(device, True), (device, True), (device, False), (CPU, True)]
        runs = [Run(make_trainer(ARCHITECTURE, images, where, graphs=graphs, **how)) for where, graphs in makers]
        ours, again, eager, theirs = (each.to(steps) for each in runs)
        row = {"phases": ours.phases, "differences to the CPU at the end of phases": ours.against(theirs)}
        row["repeats itself, bit for bit"] = same(ours.last, again.last)
        row["graphs equal eager, bit for bit"] = same(ours.last, eager.last)
        row["log-likelihood (CUDA, CPU)"] = [
            float(each.trainer.model.log_prob(images[:200]).mean()) for each in (ours, theirs)
        ]
        note.show(f"{steps} steps in float32", row)
    note["warnings"] = sorted(set(warned.texts))
    _times(note, device, quick)
    if is_cuda(device):
        _captures(note)


class Run:
    """A training, with the state at the end of each phase and whether its steps were a graph's."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.phases: dict[str, Row] = {}
        self.ends: dict[str, Any] = {}

    def to(self, steps: int) -> "Run":
        """Train so many steps."""
        (layer,) = self.trainer._layers.values()
        phase = None
        for _ in range(steps):
            if self.trainer.steps == self.trainer._centroid_steps:
                layer.adapt(everything=True)  # the step would do that, and begin another phase
            if phase is not None and NAMES[layer.phase] != phase:
                self.ends[phase] = state(self.trainer)
            phase = NAMES[layer.phase]
            row = self.phases.setdefault(phase, {"first step": self.trainer.steps + 1, "graph": False})
            self.trainer.step()
            row["graph"] = row["graph"] or graph_of(self.trainer) is not None
            row["last step"] = self.trainer.steps
        assert phase is not None
        self.ends[phase] = state(self.trainer)
        return self

    @property
    def last(self) -> Any:
        """State at the end."""
        return list(self.ends.values())[-1]

    def against(self, other: "Run") -> dict[str, float]:
        """Differences at the end of each phase."""
        return {phase: gap(end, other.ends[phase]) for phase, end in self.ends.items() if phase in other.ends}


def _times(note: Notes, device: torch.device, quick: bool) -> None:
    """Steps of the third phase, and what of them is the projection."""
    images, calls = images_of(6000).to(device), 3 if quick else 60
    plan = [(ARCHITECTURE, 1), ("tiles-factors", 1), ("factors", 1), (ARCHITECTURE, 10)]
    for arch, replicas in plan[:2] if quick else plan:
        name = f"{arch if isinstance(arch, str) else arch.name} x {replicas}"
        row: Row = {}
        with note.attempt(name):
            eager = with_factors(arch, images, device, replicas=replicas, graphs=False)
            row["third phase, eager (us)"] = per_call(eager.step, device, calls)
            trainer = with_factors(arch, images, device, replicas=replicas)
            if is_cuda(device):
                row["third phase, graph where it can be (us)"] = per_call(trainer.step, device, calls, warm=6)
                row["graph captured"] = graph_of(trainer) is not None
            gmm = trainer.model.gmms["gmm1"]
            assert isinstance(gmm, FactorGMM)
            given = (gmm.precision_sqrt.detach(), gmm.factors.detach(), gmm.options.factor_floor)
            row["projection alone (us)"] = per_call(lambda given=given: project(*given), device, calls)
        note.show(name, row)


def _captures(note: Notes) -> None:
    """Which operations a CUDA graph can hold, each in a process of its own: a capture that fails leaves traces."""
    found: Row = {}
    for name in OPERATIONS:
        done = subprocess.run([sys.executable, "-c", CAPTURE, name], capture_output=True, text=True, check=False)
        found[name] = (done.stdout + done.stderr).strip().splitlines()[-1][:300]
        note["captures"] = found
