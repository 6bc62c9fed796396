"""Searches by Optuna that are stopped at any moment: they go on, and what had been found is known."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcgmm.files import read_json
from dcgmm_cli.runs import META
from dcgmm_cli.studies import STUDY, storage
from dcgmm_cli.sweeps import STUDY_RESULTS, job_name
from tests.stress.conftest import TRAINING, moments
from tests.stress.stopping import BOTH, Stopping, check_left, only

JOBS = 3
SEARCH = [
    *("train", "-m", *TRAINING, "hydra/sweeper=optuna", f"hydra.sweeper.n_trials={JOBS}", "hydra.sweep.dir=study"),
    *("sweep.objective=layers.gmm1.test_log_likelihood", "dataset.holdout=0.1"),
    "trainer.learning_rate.start=interval(0.05,0.2)",
]


@pytest.mark.filterwarnings("ignore")  # of the version of SQLAlchemy that this version of Optuna takes
@BOTH
@pytest.mark.parametrize("more", [[], ["hydra/launcher=joblib", "hydra.sweeper.n_jobs=2"]], ids=["basic", "joblib"])
def test_a_study(how: str, more: list[str], stopping: Stopping, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    arguments = [*SEARCH, *more]
    stopping.whole(arguments, tmp_path / "whole")
    for number in moments(how, 10):
        with stopping.counted():
            home = tmp_path / str(number)
            stopping.stopped(arguments, home)
            study = home / "study"
            check_left(study, study.iterdir() if study.exists() else [])
            finished = {path: path.stat().st_mtime_ns for path in _finished(study)}
            told = len(_told(study))
            only(stopping.zygote, arguments, home, 0)
            assert all(path.stat().st_mtime_ns == changed for path, changed in finished.items())
            trials = _told(study)
            assert len(trials) == told + JOBS
            directories = {study / name for name in trials}
            assert {path.parent for path in _finished(study)} == directories
            assert {path.parent for path in study.glob(f"*/{META}")} == directories
            for directory in directories:
                result = read_json(directory / "result.json")
                assert trials[directory.name] == result["layers"]["gmm1"]["test_log_likelihood"]
            best = yaml.safe_load((study / STUDY_RESULTS).read_text())
            assert best["best_value"] == max(trials.values())
        shutil.rmtree(home)


def _finished(study: Path) -> Iterator[Path]:
    return (path for path in study.glob("*/result.json") if read_json(path)["status"] == "finished")


def _told(study: Path) -> dict[str, Any]:
    """What the study knows of its jobs: what each has reached, by its directory's name."""
    import optuna

    if not (study / STUDY).exists():
        return {}
    place = storage(study)
    if not (names := optuna.get_all_study_summaries(place)):
        return {}
    trials = optuna.load_study(study_name=names[0].study_name, storage=place).trials
    return {
        job_name([f"{key}={value}" for key, value in {**trial.params, **trial.user_attrs}.items()]): trial.value
        for trial in trials
        if trial.state is optuna.trial.TrialState.COMPLETE
    }
