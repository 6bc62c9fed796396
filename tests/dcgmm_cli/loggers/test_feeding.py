"""What a logger is told, in which order, when a run goes on, and when it fails: by one that only takes notes."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcgmm.files import read_json
from dcgmm_cli.loggers.base import LoggedRun
from dcgmm_cli.loggers.feeding import Loggers
from dcgmm_cli.records import MEASURED, append_metrics

RESULT = {"steps": 30, "problem": None, "classes": ["0"], "finished": True, "layers": {"gmm1": {"sigma": 0.5}}}


class Notes:
    """A logger that keeps what it is told, and raises where it is told to."""

    def __init__(self, fails_at: str = "") -> None:
        self.told: list[tuple[Any, ...]] = []
        self.begun: list[LoggedRun] = []
        self.known_as = "abc"
        self._fails_at = fails_at

    def begin(self, run: LoggedRun) -> "Notes":
        self.begun.append(run)
        self._note("begin", run.known_as)
        return self

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self._note("measured", step, values)

    def flush(self) -> None:
        self._note("flush")

    def finished(self, step: int, results: Mapping[str, float], files: Sequence[Path]) -> None:
        self._note("finished", step, results, [path.name for path in files])

    def close(self, status: str) -> None:
        self._note("close", status)

    def _note(self, what: str, *more: Any) -> None:
        self.told.append((what, *more))
        if what == self._fails_at:
            raise OSError(28, "No space left on device")


def layer(step: int) -> dict[str, float]:
    return {name: number / step for number, name in enumerate(MEASURED)}


def lines(*steps: int) -> list[dict[str, Any]]:
    return [{"step": step, "epoch": step / 10, "layers": {"gmm1": layer(step)}} for step in steps]


def measured(step: int) -> tuple[Any, ...]:
    return ("measured", step, {"epoch": step / 10, **{f"gmm1/{name}": value for name, value in layer(step).items()}})


def stand_in(monkeypatch: pytest.MonkeyPatch, fails_at: str = "", name: str = "tensorboard") -> Notes:
    notes = Notes(fails_at)
    monkeypatch.setitem(sys.modules, f"dcgmm_cli.loggers.{name}", SimpleNamespace(begin=notes.begin))
    return notes


def feed(directory: Path, *steps: int, names: Any = "tensorboard") -> None:
    """A start of a training that measures at these steps."""
    with Loggers(names, {directory: {"seed": 1, "arch": {"name": "1L"}}}, str(directory.parent)) as loggers:
        append_metrics(directory, lines(*steps))
        loggers.measured(directory, lines(*steps))
        loggers.finished(directory, RESULT)


def test_what_a_logger_is_told_and_in_which_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes, run = stand_in(monkeypatch), tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    (run / "figures" / "training.png").touch()
    feed(run, 10, 20)
    assert notes.told == [
        ("begin", None),
        ("flush",),
        *(measured(10), measured(20)),
        ("flush",),
        ("finished", 30, {"steps": 30, "layers.gmm1.sigma": 0.5}, ["metrics.jsonl", "training.png"]),
        ("close", "finished"),
    ]
    assert notes.begun == [LoggedRun(run.resolve(), tmp_path.resolve(), {"seed": 1, "arch.name": "1L"})]
    assert notes.begun[0].name == "run"
    assert read_json(run / "loggers.json") == {"tensorboard": {"known_as": "abc", "step": 20}}


def test_a_run_that_goes_on_is_the_same_and_is_told_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    feed(tmp_path, 10, 20)
    notes, other = stand_in(monkeypatch), stand_in(monkeypatch, name="mlflow")
    # Step 20 is measured again: the run was killed before its checkpoint was there.
    feed(tmp_path, 20, 30, names=["tensorboard", "mlflow", "tensorboard"])
    assert notes.told[0] == ("begin", "abc")
    assert [each for each in notes.told if each[0] == "measured"] == [measured(30)]
    # A logger that joins later has the steps before from metrics.jsonl.
    assert [each[1] for each in other.told if each[0] == "measured"] == [10, 20, 30]
    assert other.told[0] == ("begin", None)


@pytest.mark.parametrize(("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_logger_is_told_how_a_training_ends(
    error: type[BaseException], status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = stand_in(monkeypatch)
    with pytest.raises(error), Loggers("tensorboard", {tmp_path: {}}, "runs"):
        raise error
    assert notes.told[-1] == ("close", status)


@pytest.mark.parametrize("fails_at", ["begin", "measured", "flush", "finished", "close"])
def test_a_logger_that_fails_is_told_once_and_left_alone(
    fails_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notes, other = stand_in(monkeypatch, fails_at), stand_in(monkeypatch, name="mlflow")
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    with (
        caplog.at_level(logging.WARNING),
        Loggers(["tensorboard", "mlflow"], {home: {} for home in homes}, "runs") as loggers,
    ):
        for home in homes:
            loggers.measured(home, lines(10))
            loggers.finished(home, RESULT)
    (message,) = caplog.messages
    assert message == "training goes on without logger=tensorboard: OSError: [Errno 28] No space left on device"
    assert notes.told[-1][0] == fails_at
    assert [each[0] for each in other.told].count("close") == len(homes)


def test_without_a_logger_nothing_is_imported_or_written(tmp_path: Path) -> None:
    before = set(sys.modules)
    feed(tmp_path, 10, names=None)
    assert not {name for name in set(sys.modules) - before if name.startswith("dcgmm_cli.loggers.")}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
