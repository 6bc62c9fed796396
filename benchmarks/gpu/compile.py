"""Compile the fused passes for GPUs that need not be here: registers, spilled bytes and shared memory of every kernel.

python benchmarks/gpu/compile.py [ARCHITECTURE ...] [--capability 80 90]
python benchmarks/gpu/compile.py --layers    (layers of all sizes that are cut into blocks in other ways: minutes)
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
    parser.add_argument("--layers", action="store_true", help="layers of many sizes instead of architectures")
    arguments = parser.parse_args()
    made = of_layers if arguments.layers else of_architectures
    spilled = shared = 0
    print(f"Triton {triton.__version__}")
    for capability in arguments.capability:
        for name, launch in made(arguments.arch):
            used = compiled(launch, capability)
            spilled, shared = max(spilled, used["spilled"]), max(shared, used["shared"])
            blocks = ", ".join(f"{name} {value}" for name, value in launch.constants if name.isupper())
            print(
                f"sm_{capability} {name} {launch.kernel.__name__}: {used} ({blocks}, {launch.warps} warps)", flush=True
            )
    print(f"at most {spilled} bytes spilled, {shared} bytes of shared memory")


def of_architectures(names: Sequence[str]) -> Iterator[tuple[str, Launch]]:
    """What training steps on bytes of 28x28 and windows' ends launch, annealing and annealed; each once."""
    for name in names:
        for launch in dict.fromkeys(each for annealed in (False, True) for each in launches(name, annealed)):
            yield name, launch


def of_layers(_: object) -> Iterator[tuple[str, Launch]]:
    """The same of single layers, of all that differ in what is known when they are compiled."""
    seen = set()
    for components, side, channels, samples, size in itertools.product(
        (1, 25, 36, 100), (1, 2, 3, 5, 7, 8, 14, 28), (1, 3, 25), (1, 100), (28, 30)
    ):
        layers = [{"type": "folding", "kernel": [side, side]}, {"type": "gmm", "components": components}]
        arch = dcgmm.Architecture(layers, name=f"{components}-{side}x{side}x{channels}-{samples}-{size}")
        for annealed in (False, True):
            for launch in launches(arch, annealed, (size, size, channels), samples):
                if (known := (launch.kernel.__name__, launch.constants)) not in seen:
                    seen.add(known)
                    yield arch.name, launch


def launches(arch: Any, annealed: bool, shape: tuple[int, int, int] = (28, 28, 1), samples: int = 100) -> list[Launch]:
    """What a training step and a window's end of an architecture launch."""
    found: list[Launch] = []
    real, native.takes = fused._kernels, lambda *given: False
    fused._kernels = lambda: SimpleNamespace(**{name: _Recorder(value, found) for name, value in vars(kernels).items()})
    fused.takes = lambda components, *given: components <= fused.MOST_COMPONENTS
    fused.contracts = lambda *given: True
    try:
        _step(dcgmm.arch(arch) if isinstance(arch, str) else arch, annealed, shape, samples)
    finally:
        fused._kernels = real
    return found


def _step(arch: Any, annealed: bool, shape: tuple[int, int, int], samples: int) -> None:
    model = dcgmm.DCGMM.build(shape, arch)
    images, order = torch.zeros(2 * samples, *shape, dtype=torch.uint8), torch.zeros(2 * samples, dtype=torch.long)
    x = Gathered(images, order, torch.zeros(1, dtype=torch.long), samples)

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
