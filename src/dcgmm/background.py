"""What a thread does while a device computes and the main thread goes on: calls, and copies from the device."""

from collections.abc import Callable
from threading import Thread
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Background(Generic[T]):
    """A call that a thread makes meanwhile.

    Example:
        >>> coming = Background(lambda: 6 * 7)
        >>> coming.result()
        42
    """

    def __init__(self, call: Callable[[], T], name: str = "background") -> None:
        self._call = call
        self._made: list[T] = []
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made.append(self._call())
        except BaseException as error:  # whatever it is, the main thread is to see it
            self._error = error

    @property
    def is_done(self) -> bool:
        """Whether the call has ended."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """What the call returned, once it has; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made[0]


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host that a device can fetch while the host goes on."""
    return values.pin_memory() if device.type == "cuda" else values


def on_host(state: T) -> tuple[T, Callable[[], Any]]:
    """A nested state with its tensors on the host, and a call that waits until their values have arrived.

    Later operations on a tensor of a GPU do not change its copy: they come behind it. Tensors of the host stay as they
    are.

    Args:
        state: dictionaries, lists and tuples of each other, tensors and anything else.
    """
    devices: set[torch.device] = set()

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor) and value.device.type == "cuda":
            devices.add(value.device)
            host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            return host.copy_(value, non_blocking=True)
        if isinstance(value, dict):
            return {key: copied(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(copied, value))
        return value

    copy = copied(state)
    events = [torch.cuda.current_stream(device).record_event() for device in devices]
    return copy, lambda: [event.synchronize() for event in events]
