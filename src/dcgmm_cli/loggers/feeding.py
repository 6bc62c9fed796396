"""Feeding the loggers of a training: each model's run is fed from its own `metrics.jsonl`."""

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dcgmm.files import read_json, write_json
from dcgmm_cli.keys import flat
from dcgmm_cli.loggers.base import LoggedRun, Logger
from dcgmm_cli.records import read_metrics
from dcgmm_cli.runs import METRICS

log = logging.getLogger(__name__)

STATE = "loggers.json"  # in a run directory: what each logger calls the run, and the last step that it has


@dataclass
class _Fed:
    """A logger of one run."""

    name: str
    directory: Path
    logger: Logger
    last: int  # step that it has

    def take(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Give the logger those measurements that it does not have yet, and keep in mind what it has."""
        for line in lines:
            if line["step"] > self.last:
                self.last, layers = line["step"], flat(line["layers"])
                values = {key.replace(".", "/"): value for key, value in layers.items()}
                self.logger.measured(self.last, {"epoch": line["epoch"], **values})
        self.logger.flush()
        state = {"known_as": self.logger.known_as, "step": self.last}
        write_json(self.directory / STATE, {**_state(self.directory), self.name: state})


class Loggers:
    """The loggers of a training's runs; a context manager, that ends them as the training ends.

    What goes wrong in a logger, be it a package that is not there or a full disk, is told once, and the training goes
    on without it. A run that goes on, or is given a logger later, is fed with what is in its `metrics.jsonl` already.

    Args:
        names: of loggers: modules of this package.
        runs: directory and settings of each model's run.
        runs_dir: where runs are.
    """

    def __init__(
        self, names: str | Sequence[str] | None, runs: Mapping[Path, Mapping[str, Any]], runs_dir: str
    ) -> None:
        self._names = list(dict.fromkeys([names] if isinstance(names, str) else names or []))
        self._runs, self._runs_dir = runs, Path(runs_dir).resolve()
        self._failed: set[str] = set()  # names of loggers
        self._fed: list[_Fed] = []

    def __enter__(self) -> Self:
        for name in self._names:
            for directory, settings in self._runs.items():
                self._try(name, self._begin, name, directory, settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "finished" if kind is None else "failed" if issubclass(kind, Exception) else "interrupted"
        for fed in self._fed:
            self._try(fed.name, fed.logger.close, status)

    def measured(self, directory: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        """Feed a run's loggers with lines that were appended to its `metrics.jsonl`."""
        for fed in self._of(directory):
            self._try(fed.name, fed.take, lines)

    def finished(self, directory: Path, result: Mapping[str, Any]) -> None:
        """Feed a run's loggers with its final figures and files."""
        figures = {
            key: float(value)
            for key, value in flat(dict(result)).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        written = [directory / METRICS, *sorted((directory / "figures").glob("*.png"))]
        files = [path for path in written if path.is_file()]  # no measurements of less than a window
        for fed in self._of(directory):
            self._try(fed.name, fed.logger.finished, result["steps"], figures, files)

    def _of(self, directory: Path) -> list[_Fed]:
        return [fed for fed in self._fed if fed.directory == directory]

    def _begin(self, name: str, directory: Path, settings: Mapping[str, Any]) -> None:
        known = _state(directory).get(name, {})
        run = LoggedRun(directory.resolve(), self._runs_dir, flat(dict(settings)), known.get("known_as"))
        logger = importlib.import_module(f"dcgmm_cli.loggers.{name}").begin(run)
        fed = _Fed(name, directory, logger, known.get("step", -1))
        self._fed.append(fed)
        fed.take(read_metrics(directory))

    def _try(self, name: str, tell: Callable[..., None], *arguments: Any) -> None:
        """Tell a logger something, unless it has failed."""
        if name in self._failed:
            return
        try:
            tell(*arguments)
        except Exception as error:
            self._failed.add(name)
            if isinstance(error, ModuleNotFoundError):
                what = f"{error.name} is missing, pip install 'dcgmm[{name}]'"
            else:
                what = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning("training goes on without logger=%s: %s", name, what)


def _state(directory: Path) -> dict[str, Any]:
    path = directory / STATE
    return read_json(path) if path.exists() else {}
