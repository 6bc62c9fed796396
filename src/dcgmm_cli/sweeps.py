"""Sweeps: what became of each job, told across processes; job directories that are found again."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcgmm_cli.errors import UserError
from dcgmm_cli.runs import META, RESULT, read_json, unique_name

RECORD = "DCGMM_SWEEP"  # environment variable of a sweep's jobs: the file that they write their outcomes to
# What may differ when a sweep is given again: it does not change what a job computes.
_INCIDENTAL = {"runs_dir", "device", "threads", "trainer.device", "trainer.threads", "trainer.checkpoint_epochs"}


@dataclass(frozen=True)
class JobOutcome:
    """How a job of a sweep ended."""

    overrides: list[str]
    status: str  # finished, skipped, failed or interrupted
    code: int  # what it gives to the exit code
    error: str | None = None


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def new_record(sweep_dir: str) -> Path:
    """A file for the outcomes of one sweep, where all its jobs can write: they may run on other machines."""
    path = Path(sweep_dir).absolute() / ".sweeps" / f"{unique_name()}.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path


def tell(outcome: JobOutcome) -> None:
    """Tell the process that started the sweep, if this is a job of one, how the job ended."""
    if path := os.environ.get(RECORD):
        # One short write that appends: lines of jobs that end at the same time do not mix.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, (json.dumps(asdict(outcome)) + "\n").encode())
        finally:
            os.close(handle)


def collect(record: Path) -> list[JobOutcome]:
    """All outcomes of a sweep; the file is gone after it."""
    lines = record.read_text().splitlines() if record.exists() else []
    record.unlink(missing_ok=True)
    with suppress(OSError):  # another sweep's record is in it
        record.parent.rmdir()
    return [JobOutcome(**json.loads(line)) for line in lines]


def summary(outcomes: list[JobOutcome]) -> str:
    """A sweep in a line, and a line for each job that failed."""
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in ("finished", "skipped")}
    failed = [outcome for outcome in outcomes if outcome.status not in counts]
    parts = [f"{counts['finished']} finished"]
    parts += [f"{counts['skipped']} skipped (done before)"] * bool(counts["skipped"])
    parts += [f"{len(failed)} failed"] * bool(failed)
    lines = [f"sweep of {len(outcomes)} jobs: {', '.join(parts)}"]
    lines += [f"  {outcome.status}: {' '.join(outcome.overrides)}: {outcome.error}" for outcome in failed]
    return "\n".join(lines)


def job_name(overrides: str) -> str:
    """A directory name for a job's overrides: readable, legal, and unlike that of other overrides."""
    readable = re.sub(r"[^\w.,=+-]+", "_", overrides)[:100].strip("_.") or "job"
    if readable == overrides:
        return readable
    return f"{readable}-{hashlib.sha256(overrides.encode()).hexdigest()[:6]}"


def is_done(directory: Path, config: Mapping[str, Any]) -> bool:
    """Whether a job's directory holds its finished run.

    Raises:
        UserError: it holds a run of another configuration.
    """
    if not (directory / META).is_file():
        return False
    before, now = _settings(read_json(directory / META).get("config", {})), _settings(config)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise UserError(
                f"{directory} holds a run with {key}={before.get(key)}, not {now.get(key)}: "
                "give the sweep another hydra.sweep.dir"
            )
    return (directory / RESULT).is_file() and read_json(directory / RESULT).get("status") == "finished"


def _settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration's leaves by their dotted keys, as JSON would give them back."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            leaves |= _settings(value, f"{prefix}{key}.")
        elif prefix + key not in _INCIDENTAL:
            leaves[prefix + key] = json.loads(json.dumps(value))
    return leaves
