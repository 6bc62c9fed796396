"""Run directories: named once and never reused, found again.

A run directory holds Hydra's `.hydra/`, `meta.json`, `metrics.jsonl`, `checkpoints/`, `figures/`, a log and, once
the command has ended, `result.json`. Follow-up commands write `<run>/<command>/<unique name>/` in the same form.
"""

import contextlib
import glob
import os
import secrets
from datetime import datetime
from pathlib import Path

from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT

RESULT, META, METRICS = "result.json", "meta.json", "metrics.jsonl"
REPLICAS = "replicas"  # in the directory of models trained side by side: a run directory for each


def unique_name() -> str:
    """A directory name that no other run has: date, time and a short random id."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}"


def find_run(run: str, runs_dir: str = "runs", key: str = "run") -> Path:
    """Directory of a training run, given as a path, as a name under `runs_dir` (or the end of one), or as `latest`.

    Args:
        run, runs_dir: as given.
        key: the key that it was given by, for errors.

    Raises:
        InputError: `run` is empty, or there is no such run, or several.
    """
    if not run:  # as a path it would be the current directory
        raise InputError(f"{key}= is empty: give the run's path, its name, or latest")
    root = Path(runs_dir)
    if run == "latest":
        latest = root / "latest"
        if not latest.is_dir():
            raise InputError(f"{key}=latest: no training run in {root}/ yet; start one with `dcgmm train`")
        return latest.resolve()
    for candidate in (Path(run), root / run):
        if _is_run(candidate):
            return candidate.resolve()
    found = sorted(path for path in root.glob(f"*/*{glob.escape(run)}") if _is_run(path))
    if len(found) == 1:
        return found[0].resolve()
    if found:
        names = ", ".join(str(path.relative_to(root)) for path in found[:5])
        raise InputError(f"{key}={run} fits {len(found)} runs ({names}); give one of them")
    raise InputError(f"{key}={run}: no run directory there, nor under {root}/; give its path, its name, or latest")


def _is_run(directory: Path) -> bool:
    """Whether a directory is a run's, of one that failed before it began too."""
    # Path.is_file raises where a name is too long.
    return any(os.path.isfile(directory / name) for name in (META, RESULT))


def find_models(run: str, runs_dir: str, key: str = "run") -> list[Path]:
    """Directories of all models that `run` stands for: one, the replicas in a run, or all in a directory of runs.

    Raises:
        InputError: there is no such run, or several fit a name.
    """
    try:
        directory = find_run(run, runs_dir, key)
    except InputError:
        below = Path(run)
        if not run or not os.path.isdir(below):
            raise
        # The directory of a sweep: training runs lie in it, and what was done with them lies in them.
        found = {path.resolve().parents[1] for path in below.glob(f"**/{CHECKPOINT}")}
        if not found:
            raise
        return sorted(path for path in found if not (path / REPLICAS).is_dir())
    return sorted(path.resolve() for path in (directory / REPLICAS).glob("*") if (path / META).is_file()) or [directory]


def point_latest(directory: Path, runs_dir: str) -> None:
    """Let `<runs_dir>/latest` point at a training run, as a relative link that is replaced in one step."""
    root = Path(runs_dir).resolve()
    temporary = root / f".latest-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):  # a file system without links has no `latest`
        root.mkdir(parents=True, exist_ok=True)
        temporary.symlink_to(os.path.relpath(directory.resolve(), root), target_is_directory=True)
        try:
            os.replace(temporary, root / "latest")
        except OSError:
            temporary.unlink()
