"""What CUDA graphs hold, on tensors of a GPU that is not there: it must neither ask for a value nor copy to or from
the host, nor be of those operations that none holds, and its launches are counted.

A graph that is replayed does again what was launched on the device, and nothing of what Python did. Tensors of the
device "meta" have shapes, but no values: whatever asks for one fails.
"""

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import dcgmm
from dcgmm.generation.ascent import ascent_of
from dcgmm.model import DCGMM, Architecture, FactorGMM, fused
from dcgmm.training import Trainer, TrainerOptions

GPU = torch.device("meta")  # stands for it
OWN = [{"type": "folding", "kernel": [5, 5], "stride": [4, 4]}, {"type": "gmm", "components": 4, "shared": False}]
# Which wait for the GPU, to see whether they went well, or in the library that does them (seen: H200, PyTorch 2.11).
NO_GRAPH_HOLDS = ("_linalg_eigh", "linalg_eigh", "_linalg_svd", "cholesky_inverse", "cholesky_solve")
FACTORS = [{"type": "folding", "kernel": [14, 14]}, {"type": "gmm", "components": 4, "factors": 2}]


class NoTransfers(TorchDispatchMode):
    """Refuses operations that a tensor of another device has to do with; notes the others."""

    operations: list[str]

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        tensors = [each for each in (*args, made) if isinstance(each, Tensor)]
        assert {each.device.type for each in tensors} <= {GPU.type}, f"{name} is of the host"
        assert name not in NO_GRAPH_HOLDS
        self.operations.append(name)
        return made


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
    refusing = NoTransfers()  # type: ignore[no-untyped-call]  # torch's modes have no types
    refusing.operations = []
    with pytest.MonkeyPatch.context() as patch, refusing, torch.no_grad():
        for name in ("tensor", "as_tensor", "from_numpy"):
            patch.setattr(torch, name, _of_the_host)
        yield refusing.operations


def _of_the_host(*_: Any, **__: Any) -> None:
    raise AssertionError("values of the host go to the device")


def on_gpu(subject: Any, *apart: Any) -> Any:
    """A copy whose tensors are of the GPU; what stands `apart` is not copied."""

    def moved(value: Tensor, memo: dict[int, Any]) -> Tensor:
        if id(value) not in memo:
            made = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=GPU)
            memo[id(value)] = nn.Parameter(made, value.requires_grad) if isinstance(value, nn.Parameter) else made
        found: Tensor = memo[id(value)]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "__deepcopy__", moved)
        patch.setattr(nn.Parameter, "__deepcopy__", moved)
        return copy.deepcopy(subject, {id(each): each for each in apart})


def trainer(arch: Any, seeds: int = 1, **options: Any) -> Trainer:
    generators = [torch.Generator().manual_seed(seed) for seed in range(seeds)]
    models = [DCGMM.build((28, 28, 1), arch) for _ in generators]
    for model, generator in zip(models, generators, strict=True):
        model.draw_start(generator)
    images = torch.zeros(200, 28, 28, 1, dtype=torch.uint8)
    model = models[0] if seeds == 1 else DCGMM.side_by_side(models)
    return Trainer(model, images, TrainerOptions(batch_size=100, **options), generators)


class Launches:
    """Stands in for the kernels of the fused passes, and counts what is launched."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getattr__(self, kernel: str) -> "_Kernel":
        return _Kernel(kernel.removesuffix("_kernel"), self.names)


class _Kernel:
    def __init__(self, name: str, launched: list[str]) -> None:
        self._name, self._launched = name, launched

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *_, **__: self._launched.append(self._name)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    """Fused passes are taken."""
    found = Launches()
    for name in ("takes", "contracts", "gathers"):
        monkeypatch.setattr(fused, name, lambda *_: True)
    monkeypatch.setattr(fused, "_kernels", lambda: found)
    return found


@pytest.fixture
def _by_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "available", lambda device: False)


def in_phase(subject: Trainer, phase: str) -> Trainer:
    for layer in subject._layers.values():
        layer.annealed = phase != "annealing"
        if isinstance(layer._gmm, FactorGMM):
            layer._gmm.has_factors = layer.annealed
            layer._gmm.held = layer._held if phase == "held" else None
    return subject


@pytest.mark.usefixtures("_by_tensors")
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("arch", "phase"),
    [
        *itertools.product(("2L-c", "3L-a", OWN), ("annealing", "annealed")),
        *((FACTORS, phase) for phase in ("annealing", "held", "annealed")),
    ],
)
def test_a_step_and_a_window_s_end_ask_for_no_value(arch: Any, seeds: int, phase: str) -> None:
    subject = in_phase(trainer(dcgmm.arch(arch) if isinstance(arch, str) else arch, seeds), phase)
    far = on_gpu(subject, *subject._generators)
    with captured():
        far._ascend()
        far._end_window()


@pytest.mark.usefixtures("_by_tensors")
@pytest.mark.parametrize(
    "breach",
    [
        lambda value: value.sum().item(),
        lambda value: bool(value.any()),
        lambda value: value.cpu(),
        lambda value: value + torch.ones(2),
        lambda value: value + torch.tensor([1.0], device=value.device),
        lambda value: torch.linalg.eigh(value.expand(2, 2)),
    ],
)
def test_what_would_be_missed_in_a_graph_is_noticed(breach: Callable[[Tensor], Any]) -> None:
    with captured():
        value = torch.ones(2, device=GPU)
        with pytest.raises((AssertionError, NotImplementedError, RuntimeError)):
            breach(value)


@pytest.mark.usefixtures("_by_tensors")
@pytest.mark.parametrize("with_factors", [False, True])
def test_a_step_of_sharpening_asks_for_no_value(with_factors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    small, pooling = ({"type": kind, "kernel": [3, 3], "stride": [2, 2]} for kind in ("folding", "pooling"))
    upper = {"type": "gmm", "components": 4, "factors": 2 * with_factors}
    model = DCGMM.build((28, 28, 1), [small, {"type": "gmm", "components": 4}, pooling, small, upper])
    for gmm in model.gmms.values():
        if isinstance(gmm, FactorGMM):
            gmm.has_factors = True
    monkeypatch.setattr("dcgmm.generation.ascent.largest_curvature", lambda *_: 1.0)
    ascent, signal = ascent_of(on_gpu(model), "folding1", "gmm2"), torch.zeros(5, 28, 28, 1, device=GPU)
    with captured():
        signal.add_(ascent.gradient(signal))


# What a step of a model on its own launches; with several side by side features are not split, and nothing is finished.
MANY = ["scores", "finish", "sums", "update"]
SMALL: Any = [{"type": "folding", "kernel": [5, 5], "stride": [4, 4]}, {"type": "gmm", "components": 4}]
OF_A_STEP = {
    "2L-c": ["scores", "update", *MANY],
    "3L-a": ["scores", "update", "pool", "scores", "sums", "update", "pool", *MANY],
    "1L": MANY,
}


def launched(subject: Trainer) -> list[str]:
    """Operations of tensors in a step that are launches; those of kernels are in `launches`."""
    far = on_gpu(subject, *subject._generators)
    with captured() as operations:
        far._ascend()
    none = ("empty", "new_empty", "view", "detach", "alias", "select")
    return [name for name in operations if not name.startswith(none)]


@pytest.mark.parametrize("phase", ["annealing", "annealed"])
@pytest.mark.parametrize(("arch", "count"), [("2L-c", 6), ("3L-a", 11), ("1L", 4)])
def test_a_step_is_a_few_launches(arch: str, count: int, phase: str, launches: Launches) -> None:
    assert launched(in_phase(trainer(dcgmm.arch(arch)), phase)) == []  # nor one for the batch or its position
    assert launches.names == OF_A_STEP[arch]
    assert len(launches.names) == count


def test_a_step_gathers_tiles_itself(launches: Launches) -> None:
    assert launched(trainer(SMALL, tile=[9, 13])) == []
    assert launches.names == ["scores", "update"]


POOLED = [{"type": "pooling", "kernel": [2, 2]}, *SMALL]


@pytest.mark.parametrize(
    ("arch", "last"),
    [
        (POOLED, ["pool", "scores", "update"]),
        (Architecture(SMALL, exponent=0.5), ["scores", "update"]),
        (OWN, ["scores", "update"]),
        (FACTORS, ["contract"]),
    ],
    ids=["pooled", "with an exponent", "parameters of each position", "factors"],
)
def test_images_that_no_fused_step_takes_as_they_are_are_gathered_first(
    arch: Any, last: list[str], launches: Launches
) -> None:
    assert "add_" in launched(in_phase(trainer(arch), "annealed"))  # to the position
    assert launches.names == ["gather", *last]
