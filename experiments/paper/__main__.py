"""Run what the paper's tables and figures need, collect it, and write the report."""

import argparse
import contextlib
import fcntl
import json
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError
from dcgmm.files import write_text
from experiments.paper.plan import EVERYTHING, FULL, ITEMS, QUICK, REPORT, TARGETS, Study, plan

ROOT = Path("runs") / "paper"
REPORT_DIR = Path(__file__).resolve().parents[1] / "report"
STARTS = "starts.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0, 1 where jobs failed, 2 for bad arguments, 128 + signal when interrupted."""
    options = _parse(arguments)
    scale = QUICK if options.quick else FULL
    if options.seeds is not None:
        scale = replace(scale, seeds=options.seeds)
    root = options.root or (ROOT.with_name("paper-quick") if options.quick else ROOT)
    out = options.report or (root / "report" if options.quick else REPORT_DIR)
    try:
        if odd := re.search(r"[^\w./+-]", str(root)):
            raise InputError(f"--root={root} has {odd.group()!r} in it: use letters, digits and _ . / + - only")
        from dcgmm.runtime import available_cores  # which imports torch

        return reproduce(Study(root, scale), options.targets, out, options.jobs or available_cores(), options.quick)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + int(getattr(error, "signum", 2))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.paper", description=__doc__)
    parser.add_argument("targets", nargs="+", choices=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--quick", action="store_true", help="the same path on the bundled sample, in little time")
    parser.add_argument("--seeds", type=_positive, metavar="N", help="runs of each model (10; quick: 1)")
    parser.add_argument("--root", type=Path, metavar="DIR", help=f"where the runs are ({ROOT}; quick: {ROOT}-quick)")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="where the report is written (experiments/report; quick: ROOT/report)",
    )
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="jobs at a time, one thread each (as many as cores)"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed, not {text}")
    return int(text)


def reproduce(study: Study, targets: Sequence[str], out: Path, workers: int, quick: bool) -> int:
    """Run what is missing of the targets, collect it into `out`, and write the report there.

    Raises:
        InputError: another start is at work in the same directory, it cannot be written, or it holds models that were
            trained with other settings.
        KeyboardInterrupt: a signal came.
    """
    import torch

    from dcgmm_cli.interruption import Interruption
    from experiments.paper.collect import collect
    from experiments.paper.origin import TIMING
    from experiments.paper.report import write_report
    from experiments.paper.runner import Outcome, run_jobs
    from experiments.paper.settings import require_same_settings
    from experiments.paper.worker import dcgmm

    failed: dict[str, str] = {}
    jobs = plan(study, targets, torch.cuda.is_available())
    # A report alone runs nothing: it may be written while another start is at work.
    with _locked(study.root) if jobs else contextlib.nullcontext(), Interruption().installed():
        require_same_settings(study, jobs)
        outcome, started = Outcome(), time.monotonic()
        start = _start(targets, workers)
        try:
            run_jobs(jobs, workers, study.root / "logs", dcgmm, outcome)
        finally:
            start |= {"seconds": round(time.monotonic() - started, 1), "jobs": len(outcome.ran)}
            if outcome.ran:
                with (study.root / STARTS).open("a") as file:
                    file.write(json.dumps(start) + "\n")
        failed = outcome.failed
        wanted = ITEMS if {EVERYTHING, REPORT} & set(targets) else [item for item in ITEMS if item in targets]
        missing = [item for item in wanted if not collect(study, item, out)]
        starts = _read_starts(study.root)
        if starts:
            write_text(out / TIMING, json.dumps(starts, indent=1) + "\n")
        write_report(out, quick=quick)
    _print_end(failed, outcome.not_run, missing)
    print(out / "README.md")
    return 1 if failed else 0


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
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


def _start(targets: Sequence[str], workers: int) -> dict[str, Any]:
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


def _read_starts(root: Path) -> list[dict[str, Any]]:
    found = []
    with contextlib.suppress(OSError):
        for line in (root / STARTS).read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a killed process left torn
                found.append(json.loads(line))
    return found


def _print_end(failed: dict[str, str], not_run: dict[str, str], missing: Sequence[str]) -> None:
    for name, error in failed.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    for needed, count in Counter(not_run.values()).items():
        print(f"not run: {count} jobs that need {needed}", file=sys.stderr)
    if missing:
        print(f"nothing to collect yet for {', '.join(missing)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
