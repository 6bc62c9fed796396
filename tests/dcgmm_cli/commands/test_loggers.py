"""`dcgmm train logger=...` through the installed entry point; stand-ins take the place of the programs' packages."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from dcgmm.files import read_json
from dcgmm_cli.loggers.base import LoggedRun
from dcgmm_cli.records import read_metrics
from tests.dcgmm_cli.commands.conftest import QUICK, Runner

WANDB = """
import json
def note(*what):
    with open("notes.jsonl", "a") as file:
        file.write(json.dumps(what) + "\\n")
class Run:
    def __init__(self, id):
        self.id, self.summary = id, {}
    def log(self, values, step):
        note("log", self.id, step, {name: str(value) for name, value in values.items()})
    def finish(self, exit_code):
        note("finish", self.id, exit_code, self.summary)
def init(**options):
    note("init", options["id"], options["name"], options["config"]["seed"], options["mode"])
    return Run(options["id"])
Settings, Image = dict, str
"""


def notes(directory: Path) -> list[list[Any]]:
    path = directory / "notes.jsonl"
    told = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    return told


@pytest.fixture
def packages(tmp_path: Path) -> str:
    """A directory in front of the installed packages: Weights & Biases takes notes, TensorBoard is not there."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "wandb.py").write_text(WANDB)
    (folder / "tensorboard.py").write_text("raise ModuleNotFoundError('No module', name='tensorboard')")
    return str(folder)


@pytest.mark.slow
def test_loggers_are_fed_from_the_measurements(installed: Runner, tmp_path: Path, packages: str) -> None:
    done = installed("train", *QUICK, "trainer.replicas=2", "logger=[tensorboard,wandb]", PYTHONPATH=packages)
    assert done.code == 0, done.err
    warning = "warning: training goes on without logger=tensorboard: tensorboard is missing, "
    assert done.err.count(warning + "pip install 'dcgmm[tensorboard]'\n") == 1
    homes = [done.directory / "replicas" / f"seed-{seed}" for seed in (0, 1)]
    told = notes(tmp_path)
    for seed, home in enumerate(homes):
        known_as = read_json(home / "loggers.json")["wandb"]["known_as"]
        first, *logged, pictures, last = [each for each in told if each[1] == known_as]
        assert first[2:] == [home.relative_to(tmp_path / "runs").as_posix(), seed, "offline"]
        lines = read_metrics(home)
        assert [each[2] for each in logged] == [line["step"] for line in lines]
        assert [float(each[3]["gmm2/objective"]) for each in logged] == [
            line["layers"]["gmm2"]["objective"] for line in lines
        ]
        assert {*pictures[3]} >= {"figures/training", "figures/centroids_gmm1"}
        result = read_json(home / "result.json")
        assert last[2] == 0
        assert last[3]["layers.gmm1.test_log_likelihood"] == result["layers"]["gmm1"]["test_log_likelihood"]

    longer = installed("train", "run=latest", "trainer.epochs=4", "logger=wandb", PYTHONPATH=packages)
    assert longer.code == 0, longer.err
    assert "warning" not in longer.err
    again = notes(tmp_path)
    assert {each[1] for each in again} == {each[1] for each in told}
    for home in homes:
        known_as = read_json(home / "loggers.json")["wandb"]["known_as"]
        steps = [each[2] for each in told + again if each[0] == "log" and each[1] == known_as and "epoch" in each[3]]
        assert steps == [line["step"] for line in read_metrics(home)]


def test_a_logger_that_fails_changes_nothing(dcgmm: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(run: LoggedRun) -> NoReturn:
        raise RuntimeError("it is\nbroken")

    monkeypatch.setitem(sys.modules, "dcgmm_cli.loggers.wandb", SimpleNamespace(begin=begin))
    arguments = ["train", *QUICK, "trainer.threads=1"]
    with_it, without = dcgmm(*arguments, "logger=wandb"), dcgmm(*arguments)
    assert with_it.code == 0
    assert "warning: training goes on without logger=wandb: RuntimeError: it is broken\n" in with_it.err
    assert read_metrics(with_it.directory) == read_metrics(without.directory)
    assert not (with_it.directory / "loggers.json").exists()


@pytest.mark.parametrize("given", ["comet", "[]", "[wandb,comet]"])
def test_a_logger_that_is_none(given: str, dcgmm: Runner) -> None:
    done = dcgmm("train", *QUICK, f"logger={given}")
    done.check_refused("logger", "tensorboard", "mlflow", "wandb", "empty" if given == "[]" else "comet", alone=False)
