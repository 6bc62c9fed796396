"""What every logger is given and can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class LoggedRun:
    """A run as a logger sees it when it begins, or goes on."""

    directory: Path  # the run's own
    runs_dir: Path  # of all runs
    settings: Mapping[str, Any]  # by dotted keys
    known_as: str | None = None  # what `Logger.known_as` was before the run was interrupted

    @property
    def name(self) -> str:
        """Its place under the directory of runs, else its directory's name."""
        inside = self.directory.is_relative_to(self.runs_dir)
        return self.directory.relative_to(self.runs_dir).as_posix() if inside else self.directory.name


class Logger(Protocol):
    """One run in another program; a module of this package makes one with `begin(run: LoggedRun)`."""

    @property
    def known_as(self) -> str | None:
        """What the program calls the run, to go on with it."""

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Take in measurements of a step: `epoch`, `gmm1/log_likelihood`, ..."""

    def flush(self) -> None:
        """Let what was taken in be seen, and raise what went wrong with it."""

    def finished(self, step: int, results: Mapping[str, float], files: Sequence[Path]) -> None:
        """Take in final figures by dotted keys, and the run's files: pictures (.png) and measurements."""

    def close(self, status: str) -> None:
        """End: finished, interrupted or failed."""
