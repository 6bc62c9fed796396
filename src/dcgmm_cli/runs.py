"""Run directories: named once and never reused, found again, written so that files are whole or absent.

A run directory holds Hydra's `.hydra/`, `meta.json`, `metrics.jsonl`, `checkpoints/`, `figures/`, a log and, once
the command has ended, `result.json`. Follow-up commands write `<run>/<command>/<unique name>/` in the same form.
"""

import contextlib
import glob
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from dcgmm_cli import __version__
from dcgmm_cli.errors import UserError

if sys.platform != "win32":  # its locks are others: there nobody is kept out
    import fcntl

RESULT, META, METRICS = "result.json", "meta.json", "metrics.jsonl"
LOCK = ".lock"  # held by the process that is at work in a run directory
CHECKPOINT = Path("checkpoints") / "last.pt"
REPLICAS = "replicas"  # in the directory of models trained side by side: a run directory for each
# Settings that say where or on what a run is made, not what it is.
INCIDENTAL = {
    *("runs_dir", "dataset.root", "device", "threads"),
    *("trainer.device", "trainer.threads", "trainer.checkpoint_epochs"),
}
_ATTEMPTS = 5  # at a run directory's lock, over a fifth of a second


def unique_name() -> str:
    """A directory name that no other run has: date, time and a short random id."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}"


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a file so that it appears at `path` whole or not at all (temporary file, fsync, rename).

    Raises:
        UserError: the directory cannot be written, or `path` is a directory itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        try:
            os.replace(name, path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all. NaN and infinities are refused: JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds an object.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object")
    return content


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in content.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def find_run(run: str, runs_dir: str = "runs") -> Path:
    """Directory of a training run, given as a path, as a name under `runs_dir` (or the end of one), or as `latest`.

    Raises:
        UserError: `run` is empty, or there is no such run, or several.
    """
    if not run:  # as a path it would be the current directory
        raise UserError("run= is empty: give the run's path, its name, or latest")
    root = Path(runs_dir)
    if run == "latest":
        latest = root / "latest"
        if not latest.is_dir():
            raise UserError(f"run=latest: no training run in {root}/ yet; start one with `dcgmm train`")
        return latest.resolve()
    for candidate in (Path(run), root / run):
        if os.path.isfile(candidate / META):  # Path.is_file raises where a name is too long
            return candidate.resolve()
    found = sorted(path.parent for path in root.glob(f"*/*{glob.escape(run)}/{META}"))
    if len(found) == 1:
        return found[0].resolve()
    if found:
        names = ", ".join(str(path.relative_to(root)) for path in found[:5])
        raise UserError(f"run={run} fits {len(found)} runs ({names}); give one of them")
    raise UserError(f"run={run}: no run directory there, nor under {root}/; give its path, its name, or latest")


def find_models(run: str, runs_dir: str) -> list[Path]:
    """Directories of all models that `run` stands for: one, the replicas in a run, or all in a directory of runs.

    Raises:
        UserError: there is no such run, or several fit a name.
    """
    try:
        directory = find_run(run, runs_dir)
    except UserError:
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


def append_metrics(directory: Path, lines: list[dict[str, Any]]) -> None:
    """Append measurements to `metrics.jsonl`, a line each."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    with (directory / METRICS).open("a") as file:
        file.write(text)


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """All whole lines of `metrics.jsonl`; a last line that a killed process left torn is passed over."""
    path = directory / METRICS
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    return lines


def keep_metrics(directory: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the measurements that `keep` rejects: what a resumed run will measure again."""
    text = "".join(json.dumps(line) + "\n" for line in read_metrics(directory) if keep(line))
    write_text(directory / METRICS, text)


def write_meta(directory: Path, config: dict[str, Any], device: str) -> None:
    """Write `meta.json`: what ran, on what, when. A resumed run adds its start to those before."""
    path = directory / META
    starts = read_json(path)["starts"] if path.exists() else []
    start = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "argv": sys.argv, "device": device}
    content = {
        "dcgmm": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in ("torch", "hydra-core", "numpy", "scikit-learn")},
        "seed": config.get("seed"),
        "starts": [*starts, start],
        "config": config,
    }
    write_json(path, content)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this package runs from; None for an installed package."""
    source = Path(__file__).resolve().parent
    if not (source.parents[1] / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def write_result(directory: Path, result: dict[str, Any], seconds: float) -> None:
    """Write `result.json` of a command that took so many seconds."""
    write_json(directory / RESULT, {**result, "seconds": round(seconds, 3)})


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes out of a run directory; the lock goes with the process, however that ends.

    A sweep's jobs may outlive the process that started it: given again, it would write where they still do.

    Raises:
        UserError: another process is at work there.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        lock = (directory / LOCK).open("a")
    except OSError as error:
        raise UserError(f"cannot write {directory}: {error.strerror}") from None
    with lock:
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # `is_at_work` has the lock for a moment, to look.
                if attempt == _ATTEMPTS - 1:
                    raise UserError(f"another process is at work in {directory}; wait for it, or stop it") from None
                time.sleep(0.05)
            except OSError:  # a file system without locks
                (directory / LOCK).unlink()
                break
        yield


def is_at_work(directory: Path) -> bool | None:
    """Whether a process is at work in a run directory; None where that cannot be told."""
    if sys.platform == "win32":
        return None
    try:
        with (directory / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever there
        return None
    return False


@contextlib.contextmanager
def recorded(directory: Path, command: str) -> Iterator[dict[str, Any]]:
    """Run a command's body and write `result.json` when it ends, however it ends.

    The body fills the dictionary that it is given. `status` becomes finished, failed (with `error`) or
    interrupted; `seconds` is the wall time. Only a finished body replaces a result that is there already: one that
    goes on with a run removes it when it begins to.

    Raises:
        UserError: another process is at work in the directory.
    """
    started = time.monotonic()
    result: dict[str, Any] = {"command": command}

    def close(reached: dict[str, Any], **ending: str) -> None:
        write_result(directory, {**reached, **ending}, time.monotonic() - started)

    with _alone(directory):
        try:
            yield result
        except BaseException as error:
            if not (directory / RESULT).exists():
                close(result, **_ending(error))
            raise
        try:
            close(result, status="finished")
        except ValueError as error:  # a figure that is no number
            close({"command": command}, **_ending(error))
            raise


def _ending(error: BaseException) -> dict[str, str]:
    """Status, and what went wrong, of a body that raised this."""
    if isinstance(error, KeyboardInterrupt):
        return {"status": "interrupted"}
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return {"status": "failed", "error": text}
