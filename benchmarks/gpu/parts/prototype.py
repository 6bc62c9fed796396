"""A prototype of a GMM layer's step in Triton kernels, where its folder is on the path: against tensors, and its time.

It offers `fused.Step` and `fused.pool`. Its centroids go by the rate alone: they differ where `GMM.ascend` stops them
at the mean of what they won.
"""

import time
from typing import Any

import torch

from dcgmm.model import Folding, Pooling, native
from dcgmm.model.patches import SINGLE
from dcgmm.training import Trainer

from .shared import Notes, Row, gap, images_of, is_cuda, make_trainer, per_call, state, sync


def run(note: Notes, device: torch.device, quick: bool) -> None:
    try:
        import fused
        import triton
    except ImportError as error:
        note["skipped"] = f"{error}: no prototype here"
        print("   skipped:", error)
        return
    native.takes = lambda *tensors: False
    images = images_of(6000).to(device)
    note["triton"] = triton.__version__
    plan = (("2L-c", 1), ("3L-a", 1), ("2L-c", 10), ("3L-a", 10))
    for arch, replicas in plan[:2] if quick else plan:
        for precision in ("ieee",) if quick else ("ieee", "tf32x3"):
            name = f"{arch} x {replicas}, {precision}"
            row: Row = {}
            with note.attempt(name), torch.no_grad():
                _check(row, fused, arch, images, device, replicas, precision, quick)
            note.show(name, row)


class Chain:
    """A whole step of a model by the prototype."""

    def __init__(self, fused: Any, trainer: Trainer, precision: str) -> None:
        self._fused, self._trainer = fused, trainer
        self.parts: list[tuple[Any, Any, Any, Any]] = []  # layer, its step, what it passes on, its training
        device, names = trainer.model.device, {gmm: name for name, gmm in trainer.model.gmms.items()}
        batch, top = tuple(trainer._batch.shape), list(names)[-1]
        shape, window = (*batch, *trainer.model.input_shape), SINGLE
        for layer in trainer.model.layers:
            if isinstance(layer, Folding):
                window = layer.window
                continue
            if isinstance(layer, Pooling):
                self.parts.append((layer, None, None, None))
            else:
                step = fused.Step(layer, shape, window, device, precision)
                passed = torch.empty((*batch, *layer.output_shape), device=device) if layer is not top else None
                self.parts.append((layer, step, passed, trainer._layers[names[layer]]))
                window = SINGLE
                if layer is top:
                    break
            shape = (*batch, *layer.output_shape)
        # The prototype takes the kernel of all components, the product of its two sides.
        self._kernels = {
            id(training): torch.einsum("...ab,...cd->...acbd", training._kernel, training._kernel)
            .flatten(-4, -3)
            .flatten(-2)
            .contiguous()
            for *_, training in self.parts
            if training is not None
        }

    def __call__(self) -> None:
        """One step on the trainer's batch."""
        x, index = self._trainer._images, self._trainer._batch
        for layer, step, passed, training in self.parts:
            if step is None:
                x = self._fused.pool(x, layer.window, *layer.output_shape[:2])
            else:
                kernel = None if training.annealed else self._kernels[id(training)]
                step(x, index, kernel, training._rates[:3], training._total, passed)
                x, index = passed, None

    @property
    def launches(self) -> int:
        """Kernels that were launched so far."""
        return sum(1 if step is None else len(step.launches) for _, step, _, _ in self.parts)


def _check(
    row: Row, fused: Any, arch: str, images: Any, device: Any, replicas: int, precision: str, quick: bool
) -> None:
    given = {
        "replicas": replicas,
        "batch": 3 if quick else 100,
        "window": 10**9,
        "centroid_epochs": 0.0,
        "graphs": False,
    }
    ours, theirs = (make_trainer(arch, images, device, **given) for _ in range(2))
    exact = make_trainer(arch, images, device, dtype=torch.float64, **given)
    for layer in ours._layers.values():
        layer.adapt_all()
    chain = Chain(fused, ours, precision)
    started = time.perf_counter()
    for _ in range(2 if quick else 5):
        ours._batch.copy_(ours._next_batch())
        chain()
        sync(device)
        if "first step, compiling (s)" not in row:
            row["first step, compiling (s)"] = time.perf_counter() - started
            row["launches"] = chain.launches
        ours.steps += 1
        theirs.step()
        exact.step()
    row["prototype, against float64"] = gap(state(ours), state(exact))
    row["tensors in float32, against float64"] = gap(state(theirs), state(exact))
    if not is_cuda(device):
        return
    before = [value.clone() for value in ours.model.state_dict().values()]
    chain()
    first = state(ours)
    for value, old in zip(ours.model.state_dict().values(), before, strict=True):
        value.copy_(old)
    chain()
    row["repeats itself, bit for bit"] = gap(state(ours), first) == 0
    for annealed in (False, True):
        for layer in ours._layers.values():
            layer.annealed = annealed
        for _ in range(3):
            chain()
        sync(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            chain()
        row[f"graph{', annealed' if annealed else ''} (us)"] = per_call(graph.replay, device, 200)
