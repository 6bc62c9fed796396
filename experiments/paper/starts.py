"""Starts of a study: one at a time in a directory, on what they ran, and how they ended."""

import argparse
import contextlib
import fcntl
import json
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError
from experiments.paper.plan import Job
from experiments.paper.runner import Outcome, run_jobs
from experiments.paper.worker import Entry

STARTS = "starts.jsonl"


def positive(text: str) -> int:
    """A number of seeds or of jobs, from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text}")
    return int(text)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep a second start out of the same directory; the lock goes with the process, however it ends."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write {root}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another start is at work in {root}: wait for it, or give another --root") from None
        yield


def carry_out(jobs: Sequence[Job], root: Path, targets: Sequence[str], workers: int, entry: Entry) -> Outcome:
    """Run what is missing of a study's jobs, and note the start.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    outcome, started = Outcome(), time.monotonic()
    start = _this_start(targets, workers)
    try:
        run_jobs(jobs, workers, root / "logs", entry, outcome)
    finally:
        start |= {"seconds": round(time.monotonic() - started, 1), "jobs": len(outcome.ran)}
        if outcome.ran:
            with (root / STARTS).open("a") as file:
                file.write(json.dumps(start) + "\n")
    return outcome


def ended(work: Callable[[], int]) -> int:
    """The exit code of a start: that of its work, 2 for a mistake in what was given, 128 + signal where one came."""
    try:
        return work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + int(getattr(error, "signum", 2))


def require_plain(root: Path) -> None:
    """Refuse a directory whose name Hydra's command line could not read.

    Raises:
        InputError: it has such characters.
    """
    if odd := re.search(r"[^\w./+-]", str(root)):
        raise InputError(f"--root={root} has {odd.group()!r} in it: use letters, digits and _ . / + - only")


def _this_start(targets: Sequence[str], workers: int) -> dict[str, Any]:
    """What this start runs on."""
    import torch

    from dcgmm.runtime import available_cores

    return {
        "started": datetime.now(UTC).isoformat(timespec="minutes"),
        "targets": list(targets),
        "workers": workers,
        "cores": available_cores(),
        "cpu": _cpu_name(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_starts(root: Path) -> list[dict[str, Any]]:
    """All starts that ran something."""
    found = []
    with contextlib.suppress(OSError):
        for line in (root / STARTS).read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a killed process left torn
                found.append(json.loads(line))
    return found


def print_end(outcome: Outcome, missing: Sequence[str] = ()) -> None:
    """Say what failed, what was not run for it, and what there is nothing of."""
    for name, error in outcome.failed.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    for needed, count in Counter(outcome.not_run.values()).items():
        print(f"not run: {count} jobs that need {needed}", file=sys.stderr)
    if missing:
        print(f"nothing to collect yet for {', '.join(missing)}", file=sys.stderr)
