"""A process that runs one job after another, so that Python, torch and Hydra start up once and not for every job.

Imports nothing slow: what a job needs is imported by the first one.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path

from experiments.paper.plan import Job, is_finished

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Entry = Callable[[list[str]], int]  # dcgmm's command line: arguments to exit code

# One thread a process: as many processes as cores run side by side. Read when the libraries are loaded.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def dcgmm(arguments: list[str]) -> int:
    """Run one command line of dcgmm."""
    from dcgmm_cli import main

    return main.run(arguments)


def work(connection: Connection, entry: Entry, log_dir: Path) -> None:
    """Run the jobs that come through the connection, and answer each with its exit code and seconds.

    A signal that comes while no command handles it ends the process: nothing is half-written then. The process does
    not outlive the one that started it, or a job would be begun again while it is still running here.
    """
    os.setpgid(0, 0)  # Ctrl-C is for the parent, which tells every worker once
    for number in SIGNALS:
        signal.signal(number, lambda signum, frame: os._exit(128 + signum))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # blocked while the process started up
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        started = time.monotonic()
        code = _run(job, entry, log_path(log_dir, job))
        connection.send((code, time.monotonic() - started))


def log_path(log_dir: Path, job: Job) -> Path:
    """Where a job's output goes."""
    return log_dir / f"{job.name.replace('/', '_').replace(' ', '_')}.log"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _run(job: Job, entry: Entry, log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        _move(job)
        if job.is_done():
            return 0
        arguments = job.command_line()
        if job.directory is not None and arguments == list(job.arguments):
            shutil.rmtree(job.directory, ignore_errors=True)  # what a job that was killed has left
        print("dcgmm", *arguments, flush=True)
        code = entry(arguments)
        _move(job)
    except SystemExit as error:  # Hydra's own parser
        code = error.code if isinstance(error.code, int) else 1
    except Exception:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _move(job: Job) -> None:
    if job.directory is None or not is_finished(job.directory):
        return
    for source, target in job.moves:
        if is_finished(source) and not is_finished(target):
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
