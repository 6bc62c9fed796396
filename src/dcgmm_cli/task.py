"""The function that Hydra calls, here or in another process: runs one command with its typed configuration."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dcgmm.errors import InputError, LostProcessError, OptionError
from dcgmm.files import CHECKPOINT, read_json
from dcgmm.options import Options, plain
from dcgmm_cli.faults import explained
from dcgmm_cli.headlines import headlines, rounded
from dcgmm_cli.hydra_glue import register
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.job import Job, rank
from dcgmm_cli.keys import flat, with_prefix
from dcgmm_cli.leftovers import discard, is_leftover
from dcgmm_cli.logs import LOG_ALONE
from dcgmm_cli.records import recorded
from dcgmm_cli.runs import META, RESULT, find_run, to_go_on
from dcgmm_cli.schema import FollowUpConfig
from dcgmm_cli.schema_train import TrainConfig
from dcgmm_cli.sweeps import JobOutcome, check_same, is_done, one_of_several, tell
from dcgmm_cli.typed import typed

FAILURES: list[int] = []  # exit codes of the jobs that failed in this process
TOLD: set[str] = set()  # and their errors: the terminal has each once
log = logging.getLogger(__name__)

register()  # a process that runs a sweep's jobs begins here


@one_of_several()
def run_task(config: DictConfig) -> float | None:
    """Run a command. A failure is logged and told, not raised: in a sweep the other jobs run on.

    Returns what a sweeper searches by, the value of `sweep.objective`; None where there is none.
    """
    hydra = HydraConfig.get()
    command, sweeps, number = str(hydra.job.name), hydra.mode == RunMode.MULTIRUN, rank()
    overrides = list(hydra.overrides.task)
    module = importlib.import_module(f"dcgmm_cli.commands.{command}")
    # A command without a run directory says where it wrote.
    written = None if hasattr(module, "run_in_place") else Path(hydra.runtime.output_dir)
    was_there = written is not None and (written / META).exists()
    begun = JobOutcome(hydra.job.num if sweeps else 0, overrides, "begun", str(written) if written else None)
    tell(begun)
    outcome = replace(begun, status="finished")
    try:
        options = _options(
            config, Job(command, written, overrides, Interruption()) if written and not number else None, command
        )
        with Interruption(patient=number is not None).installed() as interruption:
            if written is None:
                with interruption.told(), explained(command, None), _named_by_keys(options):
                    written = module.run_in_place(options)
            elif _is_done(written, command, options, sweeps):
                outcome = replace(begun, status="skipped")
            else:
                job = Job(command, written, overrides, interruption)
                keep = contextlib.nullcontext() if number else recorded(job)
                with keep, interruption.told(), explained(command, written), _named_by_keys(options):
                    module.run(_with_run_found(options), job)
                if not number:
                    _log_figures(job)
            if written is not None and not number:
                outcome = replace(outcome, objective=_objective(options, written))
    except Exception as error:
        outcome = _failed(error, begun, command, sweeps)
        if outcome.code == 2 and not (sweeps or number or was_there) and written and is_leftover(written):
            discard(written)  # the message has said all that there is to say
            written = None
    except KeyboardInterrupt as error:
        code = 128 + int(getattr(error, "signum", 2))
        tell(replace(begun, status="interrupted", code=code, error="stopped by a signal"))
        if not sweeps:
            _say_how_to_go_on(command, written)
        try:
            _print(written)
        except BrokenPipeError:  # Ctrl-C has stopped the reader, such as `tee`, as well
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
    tell(outcome)
    _print(written)
    return outcome.objective


def _failed(error: Exception, begun: JobOutcome, command: str, sweeps: bool) -> JobOutcome:
    """What became of a job that an exception ended, once it is logged and others know of it."""
    mistake, lost = isinstance(error, InputError), isinstance(error, LostProcessError)
    text = " ".join(str(error).split()) if mistake or lost else f"{type(error).__name__}: {error}"
    again = sweeps and text in TOLD
    log.error("%s", text, exc_info=not (mistake or lost), extra=LOG_ALONE if again else None)
    if again:
        log.error("failed as another job did")
    TOLD.add(text)
    code = 2 if mistake else 1
    FAILURES.append(code)
    if lost:
        _say_how_to_go_on(command, None if begun.directory is None else Path(begun.directory))
    elif rank() is not None:
        _tell_others(text)
    return replace(begun, status="failed", code=code, error=text)


def _objective(options: Any, written: Path) -> float | None:
    """What a training has reached of that by which a sweep compares its jobs; None where it did not get that far.

    Raises:
        InputError: its result has no such key.
    """
    if not isinstance(options, TrainConfig) or options.sweep.objective is None:
        return None
    figures = flat(read_json(written / RESULT))
    value = figures.get(options.sweep.objective)
    if not isinstance(value, int | float):
        numbers = ", ".join(name for name, figure in figures.items() if isinstance(figure, int | float))
        raise InputError(
            f"sweep.objective={options.sweep.objective}: {written / RESULT} has no such number; its numbers: {numbers}"
        )
    return value


def _say_how_to_go_on(command: str, written: Path | None) -> None:
    if command == "train" and written is not None and (written / CHECKPOINT).is_file():
        log.info("go on with: %s", to_go_on(written))


def _tell_others(why: str) -> None:
    """Tell the processes that train with this one why it ends."""
    from dcgmm.distributed import Processes

    Processes.current().tell_end(why)


def _log_figures(job: Job) -> None:
    """Put a command's main figures into its log: the terminal has its table."""
    results = flat(job.result)
    figures = [f"{name} {rounded(results[name])}" for name in headlines([job.command], results) if results[name]]
    log.info("finished: %s", ", ".join(figures) or job.directory, extra=LOG_ALONE)


def _is_done(written: Path, command: str, options: Any, sweeps: bool) -> bool:
    """Whether a job of a sweep is done: its directory, found again, holds its finished run.

    Raises:
        InputError: the directory holds another run, which is not what `run` asks to go on with.
    """
    if not (written / META).is_file() or (isinstance(options, TrainConfig) and options.run is not None):
        return False
    settings = plain(_with_run_found(options))
    check_same(written, command, settings, "hydra.sweep.dir" if sweeps else "hydra.run.dir")
    return sweeps and is_done(written, settings)


def _options(config: DictConfig, job: Job | None, command: str) -> Any:
    """The configuration as options; where it cannot be, a run directory that is there already says why it failed."""
    try:
        return typed(config, command)
    except InputError:
        if job is not None:
            with recorded(job):
                raise
        raise


@contextlib.contextmanager
def _named_by_keys(config: Options) -> Iterator[None]:
    """Lets errors of the library's options name the command's keys."""
    try:
        yield
    except OptionError as error:
        named = with_prefix(error, config)
        knows_its_data = isinstance(config, FollowUpConfig | TrainConfig) and config.run and not config.dataset.path
        if knows_its_data and named.field == "dataset.path":
            raise InputError(f"{named}; if it moved, dataset.path=NEW tells where it is now") from None
        raise named from None


def _print(written: Path | None) -> None:
    if written is not None:
        print(written, flush=True)


def _with_run_found(config: Any) -> Any:
    """A command's configuration with the directory of the run that it works on."""
    if isinstance(config, FollowUpConfig):
        found = find_run(config.run, config.runs_dir)
        if config.run == "latest":  # nobody said which
            log.info("run=latest is %s", found)
        return replace(config, run=str(found))
    return config
