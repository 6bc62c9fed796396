"""Jobs of the tests of the runner, in place of dcgmm's; run as a module, a start that can be interrupted and killed."""

import os
import signal
import sys
from pathlib import Path

from dcgmm.files import write_json
from experiments.paper.plan import Job
from experiments.paper.runner import Outcome, run_jobs


def obey(arguments: list[str]) -> int:
    """Do what the first word says, in the directory that the second names; the parent's file `calls` keeps a record."""
    verb, directory = arguments[0], Path(arguments[1])
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / "calls").open("a") as calls:
        calls.write(f"{directory.name}\n")
    if verb == "finish":
        write_json(directory / "result.json", {"status": "finished", "seconds": 1.0})
    elif verb == "complain":
        print("first\nthe reason, in the last line\n")
        return 1
    elif verb == "mistake":
        write_json(
            directory / "result.json", {"status": "failed", "error": "epochs must be at least 1", "seconds": 1.0}
        )
        return 2
    elif verb == "raise":
        raise RuntimeError("unforeseen")
    elif verb == "exit":
        sys.exit(2)
    elif verb == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "hold":
        return _hold(directory, Path(arguments[2]))
    return 0


def _hold(directory: Path, fifo: Path) -> int:
    """Say through the fifo that work is under way; when interrupted save, and another time go on from there."""
    saved = directory.with_name("saved")
    if saved.exists():
        write_json(directory / "result.json", {"status": "finished", "seconds": 1.0})
        return 0
    # Whichever thread takes the signal, and however early it comes, a byte is there to be read.
    came, sent = os.pipe()
    os.set_blocking(sent, False)
    before = signal.signal(signal.SIGINT, lambda signum, frame: None)
    signal.set_wakeup_fd(sent)
    file = os.open(fifo, os.O_WRONLY)  # stays open as long as this process lives
    os.write(file, b"under way")
    os.read(came, 1)
    saved.touch()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, before)
    return 130


def job(
    root: Path, name: str, verb: str, *more: str, needs: tuple[str, ...] = (), level: int = 0, cost: float = 1
) -> Job:
    """A job that does what its verb says."""
    directory = root / name
    return Job(name, verb, (verb, str(directory), *more), directory, (directory,), needs, level, cost)


def main(root: Path) -> int:
    """Two jobs side by side, the first held until a signal comes."""
    jobs = [job(root, "held", "hold", str(root / "fifo")), job(root, "after", "finish", needs=("held",))]
    try:
        run_jobs(jobs, 2, root / "logs", obey, Outcome())
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
