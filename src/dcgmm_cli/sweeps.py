"""Sweeps: what became of each job, told across processes; job directories that are found again."""

import functools
import hashlib
import json
import multiprocessing
import os
import re
import shlex
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dcgmm.errors import InputError, OptionError
from dcgmm.files import CHECKPOINT, DAY, read_json
from dcgmm_cli.headlines import higher_is_better, rounded
from dcgmm_cli.keys import flat
from dcgmm_cli.records import is_at_work
from dcgmm_cli.runs import META, RESULT, is_finished, unique_name
from dcgmm_cli.schema import marked

_AT_WORK = threading.Lock()  # held by a job, in its process
STUDY_RESULTS = "optimization_results.yaml"
LONGEST = 30 * DAY  # seconds: no job takes so long, and each writes to its sweep's record when it begins and ends
RECORD = "DCGMM_SWEEP"  # environment variable of a sweep's jobs: the file that they write their outcomes to


@dataclass(frozen=True)
class JobOutcome:
    """How far a job of a sweep came."""

    number: int  # of the job in its sweep, from 0
    overrides: list[str]
    status: str  # begun, finished, skipped, failed, interrupted or unfinished
    directory: str | None  # where it wrote
    code: int = 0  # what it gives to the exit code
    error: str | None = None
    objective: float | None = None  # what it reached


@dataclass(frozen=True)
class Sweep:
    """A sweep that this process has begun."""

    jobs: int  # how many there are; 0: not known
    record: Path  # where they tell how far they came
    prints_elsewhere: bool  # whether what its jobs print goes to files of their own
    objective: str | None = None  # by which they are compared

    def outcomes(self) -> list[JobOutcome]:
        """How far each job came that has begun, in their order; the record is gone after it."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        with suppress(OSError):  # another sweep's record is in it
            self.record.parent.rmdir()
        last = {outcome.number: outcome for outcome in (JobOutcome(**json.loads(line)) for line in lines)}
        return [
            replace(each, status="unfinished", code=1, error=_open(each.directory)) if each.status == "begun" else each
            for _, each in sorted(last.items())
        ]


def _open(directory: str | None) -> str:
    at_work = is_at_work(Path(directory)) if directory else None
    return {True: "still at work", False: "killed", None: "killed, or still at work"}[at_work]


def new_record(sweep_dir: str) -> Path:
    """A file for the outcomes of one sweep, where all its jobs can write: they may run on other machines."""
    path = Path(sweep_dir).absolute() / ".sweeps" / f"{unique_name()}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"*{path.suffix}"):  # of sweeps that were killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LONGEST:
                left.unlink()
    path.touch()
    return path


def tell(outcome: JobOutcome) -> None:
    """Tell the process that started the sweep, if this is a job of one, how far the job came."""
    if path := os.environ.get(RECORD):
        # That process may be gone, and the file with it: the job goes on.
        with suppress(OSError):
            # One short write that appends: lines of jobs that end at the same time do not mix.
            handle = os.open(path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, (json.dumps(asdict(outcome)) + "\n").encode())
            finally:
                os.close(handle)


@contextmanager
def one_of_several() -> Iterator[None]:
    """A job; in a process of joblib's the last one, once the process that started the sweep has been killed.

    Such a process would wait for ever: it holds both ends of its pipes to that one.
    """
    if not multiprocessing.current_process().name.startswith("Loky"):
        yield
        return
    _follow_parent(os.getppid())
    with _AT_WORK:
        yield


@functools.cache  # once in each process
def _follow_parent(parent: int) -> None:
    """End this process when another is its parent, and no job is at work in it."""

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        with _AT_WORK:
            os._exit(1)

    threading.Thread(target=follow, name="orphan", daemon=True).start()


# Numbers of what carries a sweep out, which at 0 ends with an error of its own, or without any job.
COUNTS = ("hydra.sweeper.n_trials", "hydra.sweeper.n_jobs", "hydra.sweeper.max_batch_size", "hydra.launcher.n_jobs")


def check_counts(given: Mapping[str, str]) -> None:
    """Check numbers of jobs, as they were given by their keys; of `hydra.launcher.n_jobs` negative ones count cores.

    Raises:
        OptionError: one is 0, or negative.
    """
    for key in COUNTS:
        value, counts_cores = given.get(key, "1"), key == "hydra.launcher.n_jobs"
        if re.fullmatch(r"[+-]?\d{1,9}", value) and (int(value) == 0 or (int(value) < 0 and not counts_cores)):
            raise OptionError(key, f"a whole number of at least 1{', or negative' if counts_cores else ''}", value)


def summary(jobs: int, outcomes: Sequence[JobOutcome]) -> str:
    """A sweep of so many jobs in a line, and a line for each that did not come to its end."""
    jobs = max(jobs, len(outcomes))
    counts = Counter(outcome.status for outcome in outcomes)
    counts["not begun"] = jobs - len(outcomes)
    parts = [f"{counts.pop('finished', 0)} finished"]
    for status, remark in {"skipped": " (done before)", "failed": "", "interrupted": ""}.items():
        parts += [f"{count} {status}{remark}" for count in [counts.pop(status, 0)] if count]
    parts += [f"{count} {status}" for status, count in counts.items() if count]
    lines = [f"sweep of {jobs} {'job' if jobs == 1 else 'jobs'}: {', '.join(parts)}"]
    alike: dict[tuple[str, str], list[JobOutcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            alike.setdefault((outcome.status, outcome.error), []).append(outcome)
    for (status, error), same in alike.items():
        which = f"#{same[0].number} {status}: {' '.join(same[0].overrides)}"
        if len(same) > 1:
            which = f"{', '.join(f'#{outcome.number}' for outcome in same)} {status}"
        lines.append(f"  {which}: {error}")
    return "\n".join(lines)


def best(command: str, objective: str, outcomes: Sequence[JobOutcome]) -> str | None:
    """The job that has reached most, and its command; None where none has reached anything.

    A study of Optuna that goes on knows of jobs of earlier starts, too.
    """
    higher = higher_is_better(objective)
    reached = [(each.objective, each) for each in outcomes if each.objective is not None]
    if not reached:
        return None
    value, job = (max if higher else min)(reached, key=lambda pair: pair[0])
    overrides, which = job.overrides, f"of {len(reached)} job{'s' * (len(reached) > 1)}"
    if study := _best_of_study(Path(job.directory or "").parent / STUDY_RESULTS):
        found, searched = study
        if found != value:
            given = {**dict(each.split("=", 1) for each in overrides), **searched}
            value, overrides, which = found, [f"{key}={each}" for key, each in given.items()], "of the study"
    end = "largest" if higher else "smallest"
    return f"{end} {objective} {which}: {rounded(value)} by {shlex.join(['dcgmm', command, *overrides])}"


def _best_of_study(results: Path) -> tuple[float, dict[str, Any]] | None:
    """Value and parameters of the best trial, as Optuna's sweeper writes them into a sweep's directory."""
    if not results.is_file():
        return None
    content = yaml.safe_load(results.read_text())
    return content["best_value"], content["best_params"]


def job_name(overrides: Sequence[str]) -> str:
    """A directory name for a job's overrides, whatever their order: readable, legal, and unlike that of others.

    It holds nothing that a shell or Hydra would want quoted: `seed=0 arch=1L` gives `arch-1L+seed-0`.
    """
    items = sorted(
        item for item in overrides if not item.startswith("sweep.")
    )  # how jobs are compared, not what they do
    plain = "+".join(item.replace("=", "-", 1) for item in items)
    if plain and len(plain) <= 100 and all(re.fullmatch(r"[\w.]+=[\w.-]+", item, re.ASCII) for item in items):
        return plain
    # Of paths the name, of what is long the end: there values of one key differ.
    readable = "+".join(
        "-".join(re.sub(r"[^\w.-]+", "_", part, flags=re.ASCII).strip("_")[-30:] for part in (key, _last_part(value)))
        for key, _, value in (item.partition("=") for item in items)
    )
    return f"{readable[:150] or 'job'}-{hashlib.sha256(repr(items).encode()).hexdigest()[:6]}"


def _last_part(value: str) -> str:
    return value.rstrip("/'\"").rpartition("/")[2]


def check_same(directory: Path, command: str, config: dict[str, Any], key: str) -> None:
    """Refuse a directory in which something else has begun: it would go on under another name.

    Args:
        directory: with a `meta.json`.
        command, config: what is to go on there.
        key: what gives the directory: hydra.run.dir, or hydra.sweep.dir.

    Raises:
        InputError: it holds a run of another command or configuration.
    """
    meta = read_json(directory / META)
    recorded = meta.get("config", {})
    if not isinstance(recorded, dict):
        raise InputError(f"{directory / META} is damaged: its config is no JSON object")
    before, now = (
        {"command": each_command, **_settings(each)}
        for each_command, each in ((meta.get("command"), recorded), (command, config))
    )
    for name in sorted(before.keys() | now.keys(), key=lambda name: (name != "command", name)):
        if before.get(name) != now.get(name):
            what = f"{name}={before.get(name)}, not {now.get(name)}"
            raise InputError(f"{directory} holds a run with {what}: give another {key}")


def is_done(directory: Path, config: dict[str, Any]) -> bool:
    """Whether a job's directory, in which it has begun before, holds its finished run; of the same configuration."""
    if not is_finished(directory):
        return False
    # A model that has been trained further since is another.
    model = Path(config["run"]) / CHECKPOINT if config.get("run") else None
    return model is None or not model.is_file() or model.stat().st_mtime <= (directory / RESULT).stat().st_mtime


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration by its dotted keys, as JSON would give it back."""
    return {
        key: json.loads(json.dumps(value)) for key, value in flat(config).items() if key not in marked("incidental")
    }
