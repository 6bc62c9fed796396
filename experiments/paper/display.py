"""How far the jobs are: a bar on a terminal, a plain line now and then elsewhere; with an estimate of what is left."""

import statistics
import time
from collections.abc import Collection
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from experiments.paper.plan import Job

BAR_WIDTH = 10


class Estimator:
    """Expects of a job what jobs of its kind took, or else its cost as jobs of its command have borne out costs."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}  # by kind
        self._measured: dict[str, float] = {}  # by command
        self._expected: dict[str, float] = {}

    def learn(self, job: Job, seconds: float) -> None:
        """Take note of what a job took."""
        self._seconds.setdefault(job.kind, []).append(seconds)
        command = job.arguments[0]
        self._measured[command] = self._measured.get(command, 0.0) + seconds
        self._expected[command] = self._expected.get(command, 0.0) + job.cost

    def expect(self, job: Job) -> float:
        """Seconds that a job will take."""
        if job.kind in self._seconds:
            return statistics.fmean(self._seconds[job.kind])
        command = job.arguments[0]
        return job.cost * (self._measured[command] / self._expected[command] if command in self._expected else 1.0)

    def remaining(self, waiting: Collection[Job], running: dict[str, tuple[Job, float]], workers: int) -> float:
        """Seconds until all jobs are done; `running` holds each one's job and seconds so far."""
        expected = [self.expect(job) for job in waiting]
        expected += [max(self.expect(job) - seconds, 0.0) for job, seconds in running.values()]
        return max([sum(expected) / max(workers, 1), *expected], default=0.0)


def in_words(seconds: float) -> str:
    """A time span as one reads it: 45 s, 12 min, 1 h 40 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Display:
    """What is done, running, failed and left; a context manager.

    Args:
        total: number of jobs.
        done: those that were done before.
        every: seconds between plain lines where standard error is no terminal.
    """

    def __init__(self, total: int, done: int, every: float = 15.0) -> None:
        self._total, self._before, self._every = total, done, every
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                BarColumn(BAR_WIDTH),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total, completed=done)
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        self.say(f"{self._total - self._before} of {self._total} jobs to do, {self._before} were done before")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, done: int, failed: int, running: Collection[Job], left: int, seconds: float) -> None:
        """Show how things stand; `left` counts jobs that have not begun, `seconds` is what is expected to remain."""
        counts = f"{done} of {self._total} done, {len(running)} running, {failed} failed, {left} left"
        text = f"{counts}, about {in_words(seconds)} to go"
        if self._bar:
            lines = (text, ", ".join(job.kind for job in running))
            room = self._console.width - BAR_WIDTH - 2
            self._bar.update(self._task, completed=done, description="\n".join(line[:room] for line in lines))
        elif time.monotonic() - self._last_line >= self._every:
            self._last_line = time.monotonic()
            self.say(text)
