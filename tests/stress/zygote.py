"""Commands in processes of their own without their start-up: forked from one that has imported everything.

What a command is told, and how it ends, is as through the installed entry point, by which a share of the campaigns goes
as well; a hundred of them take the time of ten.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int  # negative: by that signal
    out: str
    err: str

    @property
    def directory(self) -> Path:
        """The directory that the command names in its last line."""
        return Path(self.out.splitlines()[-1])


class Started:
    """A command at work, the head of a process group of its own."""

    def __init__(self, zygote: "Zygote", pid: int, out: Path, err: Path) -> None:
        self.pid, self._zygote, self._out, self._err = pid, zygote, out, err

    def send(self, signum: int, *, group: bool = False) -> None:
        """Send it a signal; or all processes of its group, as a terminal does. One that has ended takes none."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signum)

    def wait(self, seconds: float = 240.0) -> Ended:
        """Wait for its end."""
        code = self._zygote.ask({"wait": self.pid, "seconds": seconds})
        assert code is not None, f"still at work after {seconds} s: {self._err.read_text()[-2000:]}"
        texts = (path.read_bytes().decode(errors="surrogateescape") for path in (self._out, self._err))
        return Ended(int(code), *texts)

    def wait_for_group(self, seconds: float = 240.0) -> None:
        """Wait until none of its processes is left: those of a sweep may outlive it."""
        end = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.killpg(self.pid, 0)
                time.sleep(0.02)
            raise AssertionError(f"processes of {self.pid} are still at work after {seconds} s")


class Zygote:
    """The process that commands are forked from. Use it as a context manager.

    Args:
        home: where what commands print is kept.
    """

    def __init__(self, home: Path) -> None:
        self._home, self._count = home, 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()

    def ask(self, request: Mapping[str, Any]) -> Any:
        """One request, and what comes of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: Sequence[str], cwd: Path, **environment: str) -> Started:
        """Begin a command in a directory."""
        self._count += 1
        out, err = (self._home / f"{self._count}.{name}" for name in ("out", "err"))
        request = {"start": list(arguments), "cwd": os.fspath(cwd), "environment": environment}
        return Started(self, self.ask({**request, "out": str(out), "err": str(err)}), out, err)

    def run(self, arguments: Sequence[str], cwd: Path, **environment: str) -> Ended:
        """A command from its beginning to its end."""
        return self.start(arguments, cwd, **environment).wait()


def _serve() -> None:
    from dcgmm_cli import main, task

    with contextlib.redirect_stdout(io.StringIO()):
        main.run(["train", "--cfg", "job"])  # what Hydra reads once it need not read again
    for command in sorted((Path(task.__file__).parent / "commands").iterdir()):
        if not command.name.startswith("_"):
            __import__(f"dcgmm_cli.commands.{command.stem}")
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            answer: int | None = os.fork()
            if answer == 0:
                replies.close()
                _become(request)
                return
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        else:
            answer = _wait(request["wait"], request["seconds"])
        print(json.dumps(answer), file=replies, flush=True)


def _become(request: Mapping[str, Any]) -> None:
    """Be the command that was asked for, in this process."""
    from dcgmm_cli import interruption, main

    os.setsid()
    os.chdir(os.fsencode(request["cwd"]))
    os.environ.update(request["environment"])
    for target, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        os.dup2(handle, target)
        os.close(handle)
    sys.argv = ["dcgmm", *request["start"]]
    for number in SIGNALS:
        signal.signal(number, interruption.leave)  # as `main` does first
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    main.main()


def _wait(pid: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


if __name__ == "__main__":
    _serve()
