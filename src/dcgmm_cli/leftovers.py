"""Run directories in which nothing was ever made: of starts that failed, or were killed before a first checkpoint."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dcgmm.errors import InputError
from dcgmm.files import TEMPORARY
from dcgmm_cli.records import LOCK, alone, is_at_work
from dcgmm_cli.runs import META, RESULT

HYDRA = ".hydra"  # Hydra's record of a configuration, made before anything else
_RECORDS = {META, RESULT, LOCK}
_YOUNG = 3600.0  # seconds: what has no lock yet may be about to


def is_leftover(directory: Path) -> bool:
    """Whether a run directory holds no more than records of its start: nothing measured, nothing made."""
    for folder, folders, files in os.walk(directory):
        if HYDRA in folders:
            folders.remove(HYDRA)
        if not all(name in _RECORDS or name.endswith((".log", TEMPORARY)) for name in files):
            return False
        if RESULT in files and Path(folder) != directory:  # a run of its own
            return False
    return True


def find_leftovers(paths: Sequence[str]) -> Iterator[Path]:
    """Run directories under some directories in which nothing was made and nobody is at work.

    Raises:
        InputError: a path is no directory.
    """
    for path in paths:
        if not Path(path).is_dir():
            raise InputError(f"{path} is no directory; give the directories that hold the runs")
        for folder, folders, files in os.walk(path):
            is_run = HYDRA in folders or META in files or RESULT in files
            if is_run and _is_idle(Path(folder)) and is_leftover(Path(folder)):
                folders.clear()
                yield Path(folder)


def _is_idle(directory: Path) -> bool:
    at_work = is_at_work(directory)
    if at_work is None:
        # It may have been removed just now.
        return os.path.isdir(directory) and time.time() - os.path.getmtime(directory) > _YOUNG
    return not at_work


def remove_leftover(directory: Path) -> bool:
    """Remove a run directory, if there is still nothing in it.

    Raises:
        InputError: it cannot be removed: of the disk or its owner, or a process has begun to work in it.
    """
    try:
        with alone(directory):
            if not is_leftover(directory):
                return False
            shutil.rmtree(directory)
    except (InputError, OSError) as error:
        if not directory.is_dir():  # another process has removed it
            return False
        if isinstance(error, OSError):
            raise InputError(f"{directory} cannot be removed: {error.strerror}") from None
        raise
    return True


def discard(directory: Path) -> None:
    """Remove a run directory in which nothing is, and the one above it if nothing else is in that."""
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()


def discard_unbegun() -> Path | None:
    """Remove the run directory that Hydra could not write its records into, and return it; None where it made none."""
    logs = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    directory = next((Path(log.baseFilename).parent for log in logs), None)  # Hydra forgets it, and has opened its log
    if directory is not None and not (directory / META).exists() and is_leftover(directory):
        discard(directory)
    return directory
