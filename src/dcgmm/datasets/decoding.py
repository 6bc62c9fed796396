"""Image files decoded by several processes at once, in the order in which they are given.

Processes, since small files are decoded under Python's interpreter lock: two threads decode 28x28 PNG files at a third
of the rate of one. What they find comes through pipes: whoever asked is gone, however it ended, and they end too.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dcgmm.datasets.names import printable
from dcgmm.datasets.pixels import Decoded, ImageError, decode
from dcgmm.errors import InputError

# So many files, or bytes of them, take some tenths of a second or more to decode.
MANY, MUCH = 1000, 20_000_000
_AHEAD = 1 << 20  # bytes that a process may have ready


class WorkerError(InputError):
    """A process that decodes images was ended, as by a system without memory, or crashed on a file."""


@dataclass(frozen=True)
class Decoding:
    """What becomes of an image file: arguments of `pixels.decode`.

    Args:
        shape: height, width and channels that it must come to; None takes any.
    """

    color: bool
    size: tuple[int, int] | None = None
    white: int | None = None
    shape: tuple[int, int, int] | None = None

    def __call__(self, path: Path) -> Decoded | str:
        """Pixels of an image file, or why it cannot be used."""
        try:
            found = decode(path, self.color, self.size, self.white)
        except ImageError as error:
            return str(error)
        if self.shape is not None and found.pixels.shape != self.shape:
            untouched = f"{_times(found.pixels.shape)}, the model takes {_times(self.shape)}"
            return f"it is {untouched}, and was trained without resizing (dataset.size)"
        return found


def is_much(count: int, size: int) -> bool:
    """Whether files, so many and of so many bytes in all, are worth several processes, and to be kept decoded."""
    return count >= MANY or size >= MUCH


def decode_all(paths: Sequence[Path], how: Decoding, workers: int = 1) -> Iterator[Decoded | str]:
    """Pixels of image files one after the other, or why a file cannot be used: the same for any number of workers.

    Args:
        paths: the files.
        how: they are decoded.
        workers: processes that decode them; with one, this process does.

    Raises:
        WorkerError: a process was ended.
    """
    if workers < 2 or not sys.executable:
        yield from map(how, paths)
        return
    with ExitStack() as stack:
        started = [_start(paths[first::workers], how, stack) for first in range(workers)]
        for number, path in enumerate(paths):
            worker = started[number % workers]
            assert worker.stdout is not None
            try:
                yield pickle.load(worker.stdout)
            except (EOFError, pickle.UnpicklingError):
                raise WorkerError(
                    f"a process that decodes images ended ({worker.wait()}) at {printable(str(path))}: "
                    "out of memory, or a file that its decoder crashes on"
                ) from None


def _start(paths: Sequence[Path], how: Decoding, stack: ExitStack) -> subprocess.Popen[bytes]:
    """A process at work on some files; it is ended when `stack` is closed."""
    places = os.pathsep.join(filter(None, sys.path))
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "dcgmm.datasets.decoding"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=_AHEAD,
        env={**os.environ, "PYTHONPATH": places},
        start_new_session=True,  # Ctrl-C is for this process alone
    )
    stack.callback(_end, worker)
    assert worker.stdin is not None
    try:
        with worker.stdin:
            pickle.dump((list(paths), how), worker.stdin)
    except BrokenPipeError:  # what is read from it says so
        pass
    return worker


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    assert worker.stdout is not None
    worker.stdout.close()
    worker.wait()


def _serve() -> None:
    """Decode what standard input names; results go to standard output, where nothing else may."""
    paths, how = pickle.load(sys.stdin.buffer)
    results = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        with open(results, "wb", _AHEAD) as pipe:
            for path in paths:
                pickle.dump(how(path), pipe, pickle.HIGHEST_PROTOCOL)
    except BrokenPipeError:  # nobody waits any more
        os._exit(1)


def _times(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


if __name__ == "__main__":
    # Not this module's, which is `__main__` here: what is pickled is known by its module's name.
    from dcgmm.datasets import decoding

    decoding._serve()
