"""Starts of a study: one at a time in a directory, on what they ran, and how they ended."""

import argparse
import contextlib
import fcntl
import json
import os
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


def study_parser(
    module: str, text: str | None, targets: Sequence[str], root: Path, report: str, seeds: int
) -> argparse.ArgumentParser:
    """Arguments that all studies have: targets, and how much is run, where, and how.

    Args:
        module: that is run.
        text: what it does.
        targets: choices.
        root: where the runs are, if nothing else is said.
        report: where results are written then, in words.
        seeds: runs of each model then, not in the quick run.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=text)
    parser.add_argument("targets", nargs="+", choices=targets, metavar="TARGET", help=", ".join(targets))
    parser.add_argument("--quick", action="store_true", help="the same path on the bundled samples, in little time")
    parser.add_argument("--seeds", type=positive, metavar="N", help=f"runs of each model ({seeds}; quick: 1)")
    parser.add_argument("--root", type=Path, metavar="DIR", help=f"where the runs are ({root}; quick: {root}-quick)")
    parser.add_argument("--report", type=Path, metavar="DIR", help=f"where results are written ({report})")
    parser.add_argument("--jobs", type=positive, metavar="N", help="jobs at a time, one thread each (as many as cores)")
    return parser


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
        with contextlib.suppress(OSError):
            start["load"] = round(os.getloadavg()[2], 1)
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
