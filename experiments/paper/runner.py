"""Runs jobs in worker processes: the most urgent first, trainings the longest first, each after what it needs."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError
from dcgmm.files import read_json
from dcgmm_cli.runs import RESULT
from experiments.paper.display import Display, Estimator
from experiments.paper.plan import Job, finished_result
from experiments.paper.worker import ONE_THREAD, SIGNALS, Entry, log_path, work

TICK = 1.0  # seconds between looks at the clock while nothing happens
PATIENCE = 60.0  # seconds that an interrupted job has to save what it has


@dataclass
class Outcome:
    """How the jobs ended, by name."""

    done: list[str] = field(default_factory=list)  # in this start and before
    ran: dict[str, float] = field(default_factory=dict)  # seconds of those that were done in this start
    failed: dict[str, str] = field(default_factory=dict)  # with the error
    not_run: dict[str, str] = field(default_factory=dict)  # with the failed job that they need


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    on_gpu: bool
    job: Job | None = None
    started: float = 0.0


def run_jobs(jobs: Sequence[Job], workers: int, log_dir: Path, entry: Entry, outcome: Outcome) -> None:
    """Run what is missing. Jobs that fail are recorded, and those that need them are not run; all others are.

    Args:
        jobs: each after those that it needs.
        workers: number of processes; one more drives the GPU where there are jobs for it.
        log_dir: for the output of each job.
        entry: runs a command line; importable by name.
        outcome: is filled as jobs end.

    Raises:
        KeyboardInterrupt: a signal came; the workers have saved what they had, and ended.
    """
    if jobs:
        _Run(jobs, workers, log_dir, entry, outcome).run()


class _Run:
    def __init__(self, jobs: Sequence[Job], workers: int, log_dir: Path, entry: Entry, outcome: Outcome) -> None:
        self._log_dir, self._entry, self._outcome, self._estimator = log_dir, entry, outcome, Estimator()
        self._waiting: dict[str, Job] = {}
        wanted: set[str] = set()
        for job in reversed(jobs):
            # What leaves no results is run where something that has not been done needs it.
            if job.is_done() or not (job.results or job.name in wanted):
                self._outcome.done.append(job.name)
                self._learn_from_before(job)
            else:
                self._waiting[job.name] = job
                wanted.update(job.needs)
        self._waiting = dict(reversed(self._waiting.items()))  # each after those that it needs
        lanes = {on_gpu: sum(job.on_gpu is on_gpu for job in self._waiting.values()) for on_gpu in (False, True)}
        self._lanes = {False: min(workers, lanes[False]), True: min(1, lanes[True])}
        self._workers: list[_Worker] = []
        self._total = len(jobs)

    def _learn_from_before(self, job: Job) -> None:
        result = finished_result(job.directory) if job.directory is not None else None
        if result is not None and isinstance(seconds := result.get("seconds"), int | float):
            self._estimator.learn(job, float(seconds))

    def run(self) -> None:
        with Display(self._total, len(self._outcome.done)) as self._display, self._workers_running():
            while self._waiting or self._busy():
                self._hand_out()
                self._show()
                self._collect()

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    @contextlib.contextmanager
    def _workers_running(self) -> Iterator[None]:
        before = {name: os.environ.get(name) for name in ONE_THREAD}
        os.environ.update(ONE_THREAD)
        try:
            for on_gpu, count in self._lanes.items():
                for _ in range(count):
                    self._workers.append(self._start(on_gpu))
            yield
        except BaseException:
            self._stop()
            raise
        finally:
            for worker in self._workers:
                worker.connection.close()  # an idle worker ends
            for worker in self._workers:
                worker.process.join()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def _start(self, on_gpu: bool) -> _Worker:
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's and OpenMP's threads
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self._entry, self._log_dir), daemon=True)
        # A signal that comes while the new process starts up waits there until it can be handled.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()
        return _Worker(process, ours, on_gpu)

    def _stop(self) -> None:
        """Interrupt all workers, once, and wait until the jobs have saved what they have; a second signal kills."""
        if self._busy():
            self._display.say("stopping: jobs under way save what they have")
        try:
            for worker in self._workers:
                if worker.process.pid is not None and worker.process.is_alive():
                    os.kill(worker.process.pid, signal.SIGINT)
                worker.connection.close()
            deadline = time.monotonic() + PATIENCE
            for worker in self._workers:
                worker.process.join(max(deadline - time.monotonic(), 0.0))
        finally:
            for worker in self._workers:
                worker.process.kill()

    def _hand_out(self) -> None:
        done = set(self._outcome.done)
        ready = [job for job in self._waiting.values() if done.issuperset(job.needs)]
        # What follows a training is short, and a report can use it at once.
        ready.sort(key=lambda job: (job.level, job.arguments[0] == "train", -self._estimator.expect(job)))
        for worker in self._workers:
            if worker.job is None:
                job = next((job for job in ready if job.on_gpu is worker.on_gpu), None)
                if job is None:
                    continue
                ready.remove(job)
                del self._waiting[job.name]
                worker.job, worker.started = job, time.monotonic()
                with contextlib.suppress(OSError):  # a worker that has died is seen when its end is waited for
                    worker.connection.send(job)

    def _show(self) -> None:
        now, busy = time.monotonic(), self._busy()
        running = {worker.job.name: (worker.job, now - worker.started) for worker in busy if worker.job is not None}
        seconds = self._estimator.remaining(self._waiting.values(), running, len(self._workers))
        failed = len(self._outcome.failed)
        jobs = [job for job, _ in running.values()]
        self._display.show(len(self._outcome.done), failed, jobs, len(self._waiting), seconds)

    def _collect(self) -> None:
        """Wait a little, and take in what workers have to say, or that they have died."""
        waited: list[Any] = [part for worker in self._workers for part in (worker.connection, worker.process.sentinel)]
        happened = set(map(_key, wait(waited, TICK)))
        for number, worker in enumerate(self._workers):
            if _key(worker.connection) in happened:
                with contextlib.suppress(EOFError, OSError):
                    code, seconds = worker.connection.recv()
                    self._end(worker, code, seconds)
                    continue
            if not worker.process.is_alive():
                worker.process.join()
                self._end(worker, None, 0.0)
                worker.connection.close()
                self._workers[number] = self._start(worker.on_gpu)

    def _end(self, worker: _Worker, code: int | None, seconds: float) -> None:
        job, worker.job = worker.job, None
        if job is None:
            return
        if code is None:
            self._fail(job, f"the process ended with code {worker.process.exitcode}")
        elif code != 0:
            self._fail(job, f"{_error(job, log_path(self._log_dir, job))} (exit code {code})")
        elif job.results and not job.is_done():
            self._fail(job, "it left no result")
        else:
            self._outcome.done.append(job.name)
            self._outcome.ran[job.name] = seconds
            self._estimator.learn(job, seconds)

    def _fail(self, job: Job, error: str) -> None:
        self._outcome.failed[job.name] = error
        self._display.say(f"failed: {job.name}: {error}; its output: {log_path(self._log_dir, job)}")
        lost = {job.name}
        for other in self._waiting.values():
            if lost.intersection(other.needs):
                lost.add(other.name)
        for name in lost - {job.name}:
            self._outcome.not_run[name] = job.name
            del self._waiting[name]


def _key(waited: Any) -> int:
    return waited if isinstance(waited, int) else id(waited)


def _error(job: Job, log: Path) -> str:
    """What a failed job says for itself: its result, else the last line of its output."""
    if job.directory is not None:
        with contextlib.suppress(InputError):
            if error := read_json(job.directory / RESULT).get("error"):
                return str(error)
    with contextlib.suppress(OSError):
        if lines := [line for line in log.read_text(errors="replace").splitlines() if line.strip()]:
            return lines[-1].removeprefix("error: ")
    return "no output"
