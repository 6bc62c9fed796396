"""Studies of Optuna: the file that keeps one, and what was under way in it when it was stopped."""

import contextlib
import traceback
import warnings
from pathlib import Path
from typing import Any

from dcgmm_cli.records import is_at_work
from dcgmm_cli.sweeps import job_name

STUDY = "study.db"  # in a sweep's directory: what Optuna knows of its trials
NAME = "dcgmm"
# What Optuna says where no job has come to its end, with a file of trials and without.
NO_TRIAL = ("Record does not exist.", "No trials are completed yet.")


def storage(directory: Path) -> str:
    """The study's place, as Optuna is told it."""
    return f"sqlite:///{directory.absolute()}/{STUDY}"


def take_up(directory: Path, name: str) -> None:
    """Ask again for the trials whose jobs were stopped, before any other: each job goes on in its directory.

    Args:
        directory: of the sweep. Where its study cannot be read, Optuna says so next.
        name: of the study.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    if not (directory / STUDY).exists():
        return
    with contextlib.suppress(SQLAlchemyError, RuntimeError, KeyError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental
        study = optuna.load_study(study_name=name, storage=storage(directory))
        asked = [_parameters(trial) for trial in study.trials if trial.state is not optuna.trial.TrialState.RUNNING]
        for trial in study.trials:
            if trial.params not in asked and _was_stopped(directory, trial):
                study.enqueue_trial(trial.params)


def study_fault(error: Exception) -> str | None:
    """What is wrong with a study, or with what it is to search, in a line; None where something else is."""
    if type(error).__module__.partition(".")[0] == "sqlalchemy":
        said = str(getattr(error, "orig", error)).splitlines()[0]
        return f"the study ({STUDY} in hydra.sweep.dir, or hydra.sweeper.storage) cannot be used: {said}"
    raised_in = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    is_optunas = any(module.partition(".")[0] == "optuna" for module in raised_in)
    if isinstance(error, ValueError) and is_optunas and str(error) not in NO_TRIAL:
        return f"hydra/sweeper=optuna cannot search so: {error}"
    return None


def _parameters(trial: Any) -> dict[str, Any]:
    """What a trial tries, or is asked to."""
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def _was_stopped(directory: Path, trial: Any) -> bool:
    """Whether a trial's job has begun, and is at work no longer."""
    overrides = [f"{key}={value}" for key, value in {**trial.params, **trial.user_attrs}.items()]
    job = directory / job_name(overrides)
    return job.is_dir() and not is_at_work(job)
