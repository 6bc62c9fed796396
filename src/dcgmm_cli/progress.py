"""Progress on standard error: a bar on a terminal, a plain line now and then elsewhere."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

log = logging.getLogger(__name__)

WIDE = 110  # columns of a terminal with room for all


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} {self._unit}/s" if task.speed else "")


class ProgressBar:
    """Progress of one job of `total` units; a context manager.

    In a notebook the bar is the notebook's own. On a terminal percent, time left and what `update` says in short have
    room at 80 columns; speed comes in where there is more.

    Args:
        title: what is being done.
        total: units in all.
        unit: name of a unit, in the plural.
        done: units already done.
        every: seconds between plain lines where standard error is no terminal.
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, every: float = 10.0) -> None:
        self._title, self._total, self._unit, self._every = title, total, unit, every
        self._done = self._start_done = done
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_interactive:
            is_wide = console.width >= WIDE
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24 if is_wide else 10),
                TextColumn("{task.percentage:>3.0f}%"),
                *([_Rate(unit)] if is_wide else []),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[detail]}", markup=False),
                console=console,
                transient=True,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(title, total=total, completed=done, detail="")
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, detail: str = "", short: str | None = None) -> None:
        """Show that `done` units are done, with a word on how things stand; a bar has the short one, if any."""
        self._done = done
        if self._bar:
            self._bar.update(self._task, completed=done, detail=detail if short is None else short)
            return
        now = time.monotonic()
        if now - self._last_line >= self._every or done >= self._total:
            self._last_line = now
            speed = (done - self._start_done) / max(now - self._started, 1e-9)
            left = f"{(self._total - done) / speed:,.0f} s left" if speed > 0 else "time left not known"
            log.info(
                "%s: %d of %d %s (%.0f%%), %.0f a second, %s. %s",
                self._title,
                done,
                self._total,
                self._unit,
                100 * done / max(self._total, 1),
                speed,
                left,
                detail,
            )


@contextlib.contextmanager
def reported(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of work of which it turns out later whether there is any: a bar from the first report on.

    The function that it gives is called with the units done so far and in all.
    """
    with contextlib.ExitStack() as stack:
        bars: dict[int, ProgressBar] = {}

        def report(done: int, total: int) -> None:
            if total not in bars:
                stack.close()
                bars.clear()
                bars[total] = stack.enter_context(ProgressBar(title, total, unit))
            bars[total].update(done)

        yield report
