"""CUDA graphs of what is done again and again."""

import functools
import logging
from collections.abc import Callable, Hashable

import torch

log = logging.getLogger(__name__)


class Graphs:
    """Runs steps on a GPU as CUDA graphs: small kernels, whose launching would cost more than they do.

    A graph holds the launches of one step: it works in place, on the same tensors each time. A step of another key is
    another sequence of launches. On a CPU steps run as they are.
    """

    _WARM_UP = 3  # steps that libraries need to set themselves up in, before a capture

    def __init__(self, device: torch.device, capture: bool = True) -> None:
        self._device = device
        self._key: Hashable = None
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._capture = capture and device.type == "cuda"

    def run(self, step: Callable[[], None], key: Hashable = None) -> None:
        """One step: captured once a few have run, replayed from then on."""
        if key != self._key:
            self._key, self._steps, self._graph = key, 0, None
        self._steps += 1
        if self._graph is None and self._capture and self._steps > self._WARM_UP:
            self._graph = self._captured(step)
        if self._graph is None:
            step()
        else:
            self._graph.replay()

    def _captured(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        device = self._device
        try:
            # A capture is of one device's stream, by default the current device's, whatever the step works on. And one
            # that fails does not give the stream back that it took: the stream around it does. Other threads go on
            # with copies of their own meanwhile.
            with (
                torch.cuda.device(device),
                torch.cuda.stream(torch.cuda.current_stream(device)),
                torch.cuda.graph(graph, stream=_capture_stream(device), capture_error_mode="thread_local"),
            ):
                step()
        except RuntimeError as error:
            self._capture = False
            log.warning("no CUDA graph of a step, which is slower without: %s", str(error).splitlines()[0])
            return None
        return graph


@functools.cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures on a device: matrix products keep a workspace of their own for each stream."""
    return torch.cuda.Stream(device)
