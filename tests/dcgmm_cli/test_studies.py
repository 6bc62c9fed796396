"""What a study asks for again when it goes on."""

import fcntl
from pathlib import Path

import pytest

from dcgmm_cli.records import LOCK
from dcgmm_cli.studies import NAME, NO_TRIAL, STUDY, storage, study_fault, take_up
from dcgmm_cli.sweeps import job_name

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore")  # of versions, and of what is experimental


def test_trials_that_were_stopped_are_asked_for_again_once(tmp_path: Path) -> None:
    study = optuna.create_study(study_name=NAME, storage=storage(tmp_path))

    def begin(rate: float) -> Path:
        trial = study.ask({"rate": optuna.distributions.UniformDistribution(rate, rate)})
        trial.set_user_attr("seed", "0")
        return tmp_path / job_name([f"rate={rate}", "seed=0"])

    begin(0.5)  # has no directory: nothing of it is lost
    begin(0.25).mkdir()
    at_work = begin(0.125)
    at_work.mkdir()
    begin(0.75).mkdir()
    study.tell(3, 1.0)
    with (at_work / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(2):
            take_up(tmp_path, NAME)
            waiting = [trial for trial in study.trials if trial.state is optuna.trial.TrialState.WAITING]
            assert [trial.system_attrs["fixed_params"] for trial in waiting] == [{"rate": 0.25}]
    take_up(tmp_path, NAME)
    assert len(study.trials) == 6


def test_what_is_no_study_is_left_to_optuna(tmp_path: Path) -> None:
    take_up(tmp_path, NAME)
    assert not list(tmp_path.iterdir())
    (tmp_path / STUDY).write_text("no database" * 100)
    take_up(tmp_path, NAME)
    optuna.create_study(study_name="another", storage=f"sqlite:///{tmp_path}/other.db")
    (tmp_path / "other.db").rename(tmp_path / STUDY)
    take_up(tmp_path, NAME)


def test_what_a_study_cannot_search_is_the_user_s_mistake(tmp_path: Path) -> None:
    study = optuna.create_study(study_name=NAME, storage=storage(tmp_path))
    with pytest.raises(ValueError) as error:
        optuna.create_study(direction="sideways")
    assert (study_fault(error.value) or "").startswith("hydra/sweeper=optuna cannot search so: ")
    with pytest.raises(ValueError) as error:  # the summary of jobs says it better
        study.best_trial  # noqa: B018
    assert str(error.value) in NO_TRIAL
    assert study_fault(error.value) is None
    with pytest.raises(ValueError) as error:  # ours
        int("x")
    assert study_fault(error.value) is None
