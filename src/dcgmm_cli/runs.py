"""Run directories: named once and never reused, found again.

A run directory holds Hydra's `.hydra/`, `meta.json`, `metrics.jsonl`, `checkpoints/`, `figures/`, a log and, once
the command has ended, `result.json`. Follow-up commands write `<run>/<command>/<unique name>/` in the same form.
"""

import contextlib
import functools
import glob
import logging
import os
import secrets
import shlex
from datetime import datetime
from pathlib import Path

from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT, HOUR, read_json, sweep_temporary, temporary_for

log = logging.getLogger(__name__)

RESULT, META, METRICS = "result.json", "meta.json", "metrics.jsonl"
PLANNED = "planned_steps"  # key of `meta.json`
REPLICAS = "replicas"  # in the directory of models trained side by side: a run directory for each


def unique_name() -> str:
    """A directory name that no other run has: date, time and a short random id."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}"


def find_run(run: str, runs_dir: str = "runs", key: str = "run", *, follow_ups: bool = False) -> Path:
    """Directory of a training run, given as a path, as a name under `runs_dir` (or the end of one), or as `latest`.

    Args:
        run, runs_dir: as given.
        key: the key that it was given by, for errors.
        follow_ups: whether the path may be that of a follow-up command's run as well.

    Raises:
        InputError: `run` is empty, or there is no such run, or several, or it is a follow-up's.
    """
    if not run:  # as a path it would be the current directory
        raise InputError(f"{key}= is empty: give the run's path, its name, or latest")
    root = Path(runs_dir)
    if run == "latest":
        link = root / "latest"
        latest = link if link.is_dir() else _newest(root)
        if latest is None:
            raise InputError(f"{key}=latest: no training run in {root}/ yet; start one with `dcgmm train`")
        if link.is_symlink() and latest is not link:
            _tell_of_lost(link, os.readlink(link), latest, key)
        return latest.resolve()
    for candidate in (Path(run), root / run):
        if _is_run(candidate):
            found = candidate.resolve()
            return found if follow_ups else _training_run(found, f"{key}={run}")
    found_runs = sorted(path for path in root.glob(f"*/*{glob.escape(run)}") if _is_run(path))
    if len(found_runs) == 1:
        return found_runs[0].resolve()
    if found_runs:
        names = ", ".join(str(path.relative_to(root)) for path in found_runs[:5])
        raise InputError(f"{key}={run} fits {len(found_runs)} runs ({names}); give one of them")
    raise InputError(f"{key}={run}: no run directory there, nor under {root}/; give its path, its name, or latest")


@functools.cache  # a command looks for its run several times
def _tell_of_lost(link: Path, target: str, taken: Path, key: str) -> None:
    """Log that what the link points at has been moved or removed, once in a process."""
    log.warning("%s leads nowhere (%s was moved or removed): %s=latest takes %s", link, target, key, taken)


def _is_run(directory: Path) -> bool:
    """Whether a directory is a run's, of one that failed before it began too."""
    # Path.is_file raises where a name is too long.
    return any(os.path.isfile(directory / name) for name in (META, RESULT))


def _newest(root: Path) -> Path | None:
    """The training run under `root` that was begun, or gone on with, last; None where there is none."""
    found = [path.parent for path in root.glob(f"*/*/{META}") if not path.parent.parent.is_symlink()]
    return max(found, key=lambda path: os.path.getmtime(path / META), default=None)


def _training_run(directory: Path, given: str) -> Path:
    """The directory, if it is a training run's.

    Raises:
        InputError: a follow-up command wrote it; its training run is named.
    """
    is_model = os.path.isfile(directory / CHECKPOINT) or directory.parent.name == REPLICAS
    if not is_model and os.path.isfile(directory.parents[1] / META):
        raise InputError(
            f"{given} is what `dcgmm {directory.parent.name}` made of a training run: give run={directory.parents[1]}"
        )
    return directory


def find_models(run: str, runs_dir: str, key: str = "run", *, several: bool = True) -> list[Path]:
    """Directories of all models that `run` stands for: one, the replicas in a run, or all in a directory of runs.

    Args:
        run, runs_dir, key: as for `find_run`.
        several: whether the directory may hold others, with runs of their own; otherwise it is that of one sweep.

    Raises:
        InputError: there is no such run, or several fit a name, or the directory holds more than a sweep.
    """
    try:
        directory = find_run(run, runs_dir, key)
    except InputError:
        below = Path(run)
        if not run or not os.path.isdir(below):
            raise
        # Training runs lie in it, or in directories by architecture and data set, as under runs/; models of one run in
        # its replicas. What was done with them lies deeper.
        found = [
            {path.resolve().parents[1] for path in below.glob(f"{places}/{CHECKPOINT}")}
            for places in ("*", f"*/{REPLICAS}/*", "*/*", f"*/*/{REPLICAS}/*")
        ]
        models = sorted(path for path in set().union(*found) if not (path / REPLICAS).is_dir())
        if not models:
            raise
        if not several and (found[2] or found[3]):
            raise InputError(
                f"{key}={run} holds {len(models)} models in several directories: "
                "-m works on all of them, or give the directory of one sweep"
            ) from None
        return models
    return sorted(path.resolve() for path in (directory / REPLICAS).glob("*") if (path / META).is_file()) or [directory]


def trained_models(run: str, runs_dir: str, *, several: bool = True) -> list[Path]:
    """`find_models`, each with a checkpoint.

    Raises:
        InputError: there is no such run, or its models have none yet.
    """
    found = find_models(run, runs_dir, several=several)
    for model in found:
        require_models(model)
    return found


def is_finished(directory: Path) -> bool:
    """Whether a run came to its end: one that was stopped after its last step still has its scores to make."""
    return (directory / RESULT).is_file() and read_json(directory / RESULT).get("status") == "finished"


def training_of(directory: Path) -> Path:
    """The run directory in which a training goes on: of one of several models side by side that of all, until its end.

    Raises:
        InputError: the result of all is damaged.
    """
    together = directory.parents[1]
    if directory.parent.name != REPLICAS or (directory / RESULT).is_file() or not (together / META).is_file():
        return directory
    return directory if is_finished(together) else together


def to_go_on(directory: Path) -> str:
    """What is typed to go on with a training run."""
    return f"dcgmm train {shlex.quote(f'run={training_of(directory)}')}"


def require_models(directory: Path) -> None:
    """Refuse models side by side that have no checkpoints of their own yet: they get them when all have been trained.

    Args:
        directory: of all of them, of one of them, or of another run, which has no such models.

    Raises:
        InputError: they have none.
    """
    homes = [directory] if directory.parent.name == REPLICAS else (directory / REPLICAS).glob("*")
    if not all(os.path.isfile(home / CHECKPOINT) for home in homes):
        raise InputError(
            f"{directory}: models side by side are there when all have been trained; go on with: {to_go_on(directory)}"
        )


def point_latest(directory: Path, runs_dir: str) -> None:
    """Let `<runs_dir>/latest` point at a training run, as a relative link that is replaced in one step."""
    root = Path(runs_dir).resolve()
    link = root / "latest"
    temporary = temporary_for(link)
    with contextlib.suppress(OSError):  # a file system without links has no `latest`
        root.mkdir(parents=True, exist_ok=True)
        sweep_temporary(root, HOUR, of=link.name)
        temporary.symlink_to(os.path.relpath(directory.resolve(), root), target_is_directory=True)
        try:
            os.replace(temporary, link)
        except OSError:
            temporary.unlink()
