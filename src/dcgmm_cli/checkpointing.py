"""Checkpoints that are written while training goes on."""

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dcgmm.background import Background


class Checkpoints:
    """Has checkpoints written by a thread, one at a time; a context manager that waits for the last one.

    What goes wrong in the thread is raised by the next call of the main one.
    """

    def __init__(self) -> None:
        self._under_way: Background[float] | None = None
        self._next = 0.0  # when another may be begun

    def is_due(self) -> bool:
        """Whether another may be written: no more than a tenth of the time goes into them."""
        if self._under_way is not None and self._under_way.is_done:
            self.finish()
        return self._under_way is None and time.monotonic() >= self._next

    def begin(self, write: Callable[[], None], begun: float) -> None:
        """Let the thread write, once it has written what it was given before.

        Args:
            write: writes the checkpoint.
            begun: when work on it was, of `time.monotonic`.
        """
        self.finish()

        def timed() -> float:
            write()
            ended = time.monotonic()
            return ended + 9 * (ended - begun)

        self._under_way = Background(timed, "checkpoint")

    def finish(self) -> None:
        """Wait until all is written."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            self._next = under_way.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            self.finish()
