"""The lines of the GPU check that only a GPU reaches, on the CPU with stand-ins for torch.cuda.

python benchmarks/gpu/rehearse.py PART OUT [CHARACTERS OF ITS RESULTS TO SHOW]
"""

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import parts.shared
from parts import PARTS
from parts.shared import Notes, torch

from dcgmm import graphs
from dcgmm.generation import sharpening
from dcgmm.training import trainer


class Graph:
    """Stands in for a CUDA graph: runs what it was to hold."""

    def __init__(self, step: Callable[[], Any] = lambda: None) -> None:
        self.replay = step


class Graphs(graphs.Graphs):
    """Captures nothing."""

    def __init__(self, device: torch.device, capture: bool = True) -> None:
        super().__init__(device)
        self._capture = capture

    def _captured(self, step: Callable[[], None]) -> Any:
        return Graph(step)


@contextlib.contextmanager
def nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


def stand_in() -> None:
    trainer.Graphs = sharpening.Graphs = Graphs
    parts.shared.is_cuda = lambda device: True  # before the parts are imported, which take it from there
    cuda = torch.cuda
    cuda.CUDAGraph, cuda.graph, cuda.synchronize = Graph, nothing, nothing
    cuda.memory_reserved = cuda.max_memory_allocated = lambda *_: 0
    cuda.get_device_properties = lambda *_: types.SimpleNamespace(name="none")


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in PARTS:
        raise SystemExit(f"{__doc__}\nPARTs: {', '.join(PARTS)}")
    name, out = sys.argv[1], Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    stand_in()
    part, note = importlib.import_module(f"parts.{name}"), Notes(out / f"{name}.json")
    with note.attempt("all"):
        part.run(note, torch.device("cpu"), True)
    print(note.path.read_text()[: int(sys.argv[3]) if len(sys.argv) > 3 else 3000])
    raise SystemExit(1 if "failed" in note.found else 0)


if __name__ == "__main__":
    main()
