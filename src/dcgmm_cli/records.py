"""What a run directory tells of its run: who is at work in it, what ran on what, measurements, how it ended."""

import contextlib
import functools
import json
import logging
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from dcgmm import __version__
from dcgmm.errors import InputError
from dcgmm.files import parse_json, read_json, read_text, sweep_temporary, write_json, write_text
from dcgmm.options import Options, plain
from dcgmm_cli.job import Job, command_line
from dcgmm_cli.runs import META, METRICS, RESULT

if sys.platform != "win32":  # its locks are others: there nobody is kept out
    import fcntl

log = logging.getLogger(__name__)

MEASURED = ("objective", "log_likelihood", "sigma", "learning_rate")  # of each GMM layer, in a line of metrics.jsonl
LOCK = ".lock"  # held by the process that is at work in a run directory
_ATTEMPTS = 5  # at a run directory's lock, over a fifth of a second


def append_metrics(directory: Path, lines: list[dict[str, Any]]) -> None:
    """Append measurements to `metrics.jsonl`, a line each."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    with (directory / METRICS).open("a") as file:
        file.write(text)


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """All measurements of `metrics.jsonl`; a last line that a killed process left torn is passed over.

    Raises:
        InputError: the file cannot be read.
    """
    path = directory / METRICS
    if not path.exists():
        return []
    found, damaged = [], []
    lines = read_text(path).splitlines()
    for number, text in enumerate(lines, start=1):
        with contextlib.suppress(InputError):
            line = parse_json(text, f"{path}, line {number}")
            if _is_measurement(line):
                found.append(line)
                continue
        if number < len(lines):
            damaged.append(str(number))
    if damaged:
        log.warning("%s is damaged: left out line %s", path, ", ".join(damaged))
    return found


def _is_measurement(line: Any) -> bool:
    try:
        numbers = [layer[name] for layer in line["layers"].values() for name in MEASURED]
        return type(line["step"]) is int and all(type(value) in (int, float) for value in [line["epoch"], *numbers])
    except (KeyError, TypeError, AttributeError):
        return False


def keep_metrics(directory: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the measurements that `keep` rejects: what a resumed run will measure again."""
    text = "".join(json.dumps(line) + "\n" for line in read_metrics(directory) if keep(line))
    write_text(directory / METRICS, text)


def write_meta(directory: Path, command: str, config: Options | Mapping[str, Any], device: str, **facts: Any) -> None:
    """Write `meta.json`: what ran, on what, when, and what was typed. A resumed run adds its start to those before.

    Args:
        directory, command, config, device: of the run.
        facts: what else is known when it starts, as built-ins.
    """
    path = directory / META
    before = read_json(path).get("starts") if path.exists() else None
    starts = before if isinstance(before, list) else []
    start = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "argv": command_line(), "device": device}
    settings = plain(config)
    content = {
        "command": command,
        "dcgmm": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in ("torch", "hydra-core", "numpy", "scikit-learn")},
        "seed": settings.get("seed"),
        "starts": [*starts, start],
        "config": settings,
        **facts,
    }
    write_json(path, content)


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _git_state() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this package runs from; None for an installed package.

    Of a process's first run: what was loaded then runs in all of a sweep's jobs.
    """
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
def alone(directory: Path) -> Iterator[None]:
    """Keep other processes out of a run directory; the lock goes with the process, however that ends.

    A sweep's jobs may outlive the process that started it: given again, it would write where they still do.

    Raises:
        InputError: another process is at work there.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        lock = (directory / LOCK).open("a")
    except OSError as error:
        raise InputError(f"cannot write {directory}: {error.strerror}") from None
    with lock:
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # `is_at_work` has the lock for a moment, to look.
                if attempt == _ATTEMPTS - 1:
                    raise InputError(f"another process is at work in {directory}; wait for it, or stop it") from None
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
def recorded(job: Job) -> Iterator[None]:
    """Run a command's body and write `result.json` when it ends, however it ends.

    The body fills the job's `result`. `status` becomes finished, failed (with `error`) or interrupted; `seconds` is
    the wall time. Only a finished body replaces a result that is there already: one that goes on with a run removes
    it when it begins to, and leaves all as it was if it cannot.

    Raises:
        InputError: another process is at work in the directory.
    """
    started = time.monotonic()

    def close(reached: dict[str, Any], **ending: str) -> None:
        content = {"command": job.command, **reached, **ending}
        write_result(job.directory, content, time.monotonic() - started)

    meta = job.directory / META
    with alone(job.directory):
        before = _stamp(meta)
        for folder in (job.directory, *job.directory.glob("checkpoints"), *job.directory.glob("figures")):
            sweep_temporary(folder)
        try:
            yield
        except BaseException as error:
            was_begun = before is None or _stamp(meta) != before  # else it is as the start before this one left it
            if was_begun and not (job.directory / RESULT).exists():
                with contextlib.suppress(InputError):  # what went wrong is the first error, such as a disk that is full
                    close(job.result, **_ending(error))
            raise
        try:
            close(job.result, status="finished")
        except InputError:  # it cannot be written
            raise
        except ValueError as error:  # a figure that is no number
            close({}, **_ending(error))
            raise


def _stamp(path: Path) -> tuple[int, int] | None:
    """What is another once a file has been written; None where there is none."""
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _ending(error: BaseException) -> dict[str, str]:
    """Status, and what went wrong, of a body that raised this."""
    if isinstance(error, KeyboardInterrupt):
        return {"status": "interrupted"}
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return {"status": "failed", "error": text}
