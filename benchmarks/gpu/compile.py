"""Compile the fused passes for GPUs that need not be here: registers, spilled bytes and shared memory of every kernel.

python benchmarks/gpu/compile.py [ARCHITECTURE ...] [--capability 80 90]
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["TRITON_DEFAULT_FP_FUSION"] = "1"  # as Triton 3.9 has it where nothing is said, but for a warning
os.environ.pop("TRITON_INTERPRET", None)  # before Triton is imported: what is interpreted is not compiled
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import dcgmm
from dcgmm.model import GMM, fused, native
from dcgmm.model.fused import kernels
from dcgmm.model.fused.gathered import Gathered

POINTERS = {torch.float32: "*fp32", torch.int64: "*i64", torch.int32: "*i32", torch.uint8: "*u8"}


@dataclass(frozen=True)
class Launch:
    """A kernel as a step launches it."""

    kernel: Any
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: tuple[int, ...]  # arguments that 16 divides, which kernels are compiled for
    warps: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="*", default=["2L-c", "3L-a", "1L", "tiles-400"])
    parser.add_argument("--capability", type=int, nargs="+", default=[80, 90])
    arguments = parser.parse_args()
    spilled = shared = 0
    print(f"Triton {triton.__version__}")
    for capability in arguments.capability:
        for arch in arguments.arch:
            for launch in dict.fromkeys(launches(arch)):
                used = compiled(launch, capability)
                spilled, shared = max(spilled, used["spilled"]), max(shared, used["shared"])
                blocks = ", ".join(f"{name} {value}" for name, value in launch.constants if name.isupper())
                print(
                    f"sm_{capability} {arch} {launch.kernel.__name__}: {used} ({blocks}, {launch.warps} warps)",
                    flush=True,
                )
    print(f"at most {spilled} bytes spilled, {shared} bytes of shared memory")


def launches(arch: str) -> Iterator[Launch]:
    """What a training step of an architecture on bytes of 28x28 and a window's end launch, annealing and annealed."""
    found: list[Launch] = []
    real, native.takes = fused._kernels, lambda *given: False
    fused._kernels = lambda: SimpleNamespace(**{name: _Recorder(value, found) for name, value in vars(kernels).items()})
    fused.takes = lambda components, *given: components <= fused.MOST_COMPONENTS
    fused.contracts = lambda *given: True
    try:
        for annealed in (False, True):
            _step(arch, annealed)
    finally:
        fused._kernels = real
    yield from found


def _step(arch: str, annealed: bool) -> None:
    model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch(arch))
    images, order = torch.zeros(200, 28, 28, 1, dtype=torch.uint8), torch.zeros(200, dtype=torch.long)
    x = Gathered(images, order, torch.zeros(1, dtype=torch.long), 100)

    def ascend(name: str, gmm: GMM, patches: Any, top: bool) -> torch.Tensor | None:
        kernel = None if annealed else torch.zeros(*[int(gmm.components**0.5)] * 2)
        rates = dcgmm.model.gmm.Rates(*torch.zeros(4))
        return gmm.step(patches, kernel, rates, passes_on=not top, total=torch.zeros(()))[1]

    with torch.no_grad():
        model.upward(x, ascend)
        model.score_floats(fused.gather(x))


class _Recorder:
    """Stands in for a kernel, and notes how it is launched."""

    def __init__(self, kernel: Any, found: list[Launch]) -> None:
        self._kernel, self._found = kernel, found

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*given: Any, num_warps: int = 4, **constants: Any) -> None:
            named = dict(zip(self._kernel.arg_names, given, strict=False))
            # As Triton has it: a number that is 1 is a constant, and what is a multiple of 16 is known to be one.
            constants |= {name: value for name, value in named.items() if type(value) is int and value == 1}
            aligned = tuple(place for place, value in enumerate(given) if _is_aligned(value))
            types = {name: _type(value) for name, value in named.items()} | dict.fromkeys(constants, "constexpr")
            launch = Launch(self._kernel, tuple(types.items()), tuple(constants.items()), aligned, num_warps)
            self._found.append(launch)

        return launch


def _type(value: Any) -> str:
    return POINTERS[value.dtype] if isinstance(value, torch.Tensor) else "fp32" if isinstance(value, float) else "i32"


def _is_aligned(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (type(value) is int and value % 16 == 0)


def compiled(launch: Launch, capability: int) -> dict[str, int]:
    """Registers a thread, bytes spilled a thread and bytes of shared memory a block of a kernel."""
    attributes = {(place,): [["tt.divisibility", 16]] for place in launch.aligned}
    source = ASTSource(launch.kernel, dict(launch.signature), dict(launch.constants), attributes)
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": launch.warps})
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary.asm["cubin"])
        shown = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED):(\d+)", shown.stdout + shown.stderr)}
    return {"registers": used["REG"], "spilled": used["STACK"], "shared": binary.metadata.shared}


if __name__ == "__main__":
    main()
