"""SIGINT and SIGTERM while a command runs. Imports nothing slow."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


def leave(signum: int, frame: FrameType | None = None) -> NoReturn:
    """End at once: before a command runs, and after it, there is nothing that could be saved."""
    os.write(2, b"dcgmm: interrupted\n")
    os._exit(128 + signum)


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
    """End at once in this block also while a library's call waits: Python's handlers run when it has returned."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)

    def wait() -> None:
        for signum in os.read(ours, 1):
            leave(signum)
        os.close(ours)

    before = signal.set_wakeup_fd(theirs)
    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(theirs)


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int]]:
        """Pickles: a sweep's jobs may be interrupted in other processes."""
        return type(self), (self.signum,)


class Interruption:
    """Turns SIGINT and SIGTERM into `Interrupted`; inside `held()` only when `check()` is called.

    A second signal is not held: whoever presses Ctrl-C twice wants out.

    Args:
        patient: whether it is held too: one that starts processes passes on to them what they were sent already.
    """

    def __init__(self, patient: bool = False) -> None:
        self._holding, self._patient = False, patient
        self.pending: int | None = None  # a signal that waits
        self._raised: int | None = None  # one that did not

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._holding and (self.pending is None or self._patient):
            self.pending = signum
            return
        self._raised = signum
        raise Interrupted(signum)

    @contextlib.contextmanager
    def installed(self) -> Iterator["Interruption"]:
        """Handle the two signals in this block, and put the old handlers back after it."""
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Raise what was raised in this block also where a library's own error came of it (torch.save's does).

        Raises:
            Interrupted: a signal ended the block.
        """
        try:
            yield
        except Exception as error:
            if self._raised is not None:
                raise Interrupted(self._raised) from error
            raise

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait for the next `check()`."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False

    def check(self) -> None:
        """Raise the signal that waits, if any.

        Raises:
            Interrupted: SIGINT or SIGTERM came.
        """
        if self.pending is not None:
            raise Interrupted(self.pending)
