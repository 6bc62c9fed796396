"""What a sweep sets up before its first job, as a callback of Hydra (conf/hydra_common.yaml)."""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from dcgmm_cli.composing import JobLoader
from dcgmm_cli.explain import given_names
from dcgmm_cli.headlines import higher_is_better
from dcgmm_cli.hydra_glue import quoted
from dcgmm_cli.studies import NAME, storage, take_up
from dcgmm_cli.sweeps import RECORD, Sweep, new_record


class SweepStart(Callback):
    """Lets the jobs tell how far they come; those that run side by side share the cores and the terminal."""

    _begun: ClassVar[Sweep | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Set up what the jobs need, once Hydra has composed the sweep's configuration."""
        try:
            record = new_record(str(config.hydra.sweep.dir))
        except OSError:
            return  # Hydra makes the same directory next, and says why it cannot
        launcher, choice = config.hydra.launcher, str(config.hydra.runtime.choices["hydra/launcher"])
        sweeper = str(config.hydra.runtime.choices["hydra/sweeper"])
        objective = OmegaConf.select(config, "sweep.objective")
        _compose_once()
        if sweeper == "optuna":
            _prepare_study(config, objective)
        params = [f"{key}={values}" for key, values in (config.hydra.sweeper.get("params") or {}).items()]
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        words: Any = OmegaConf.to_container(config.hydra.overrides.task)  # as they were typed
        try:
            overrides = parser.parse_overrides([*params, *words])
        except HydraException:
            jobs = 0  # Hydra parses them next, and says what is wrong
        else:
            # Of a key that is given twice the last counts; Optuna would take the first that is not to be searched.
            last = {override.get_key_element(): override for override in overrides}
            jobs = math.prod(map(_count, last.values())) if sweeper == "basic" else 0
            typed = [override for override in overrides[len(params) :] if override in last.values()]
            config.hydra.overrides.task = _without_plus(typed, config.hydra.job.name)
        SweepStart._begun = Sweep(jobs, record, choice.startswith("submitit"), objective)
        environment = {RECORD: str(record)}
        if choice != "basic":
            environment["TERM"] = "dumb"  # they cannot each move a terminal's cursor
        if choice == "joblib" and launcher.n_jobs == -1:
            from joblib import cpu_count

            # It divides the cores among them: each gets as many threads as it was told, or one.
            threads = OmegaConf.select(config, "trainer.threads") or OmegaConf.select(config, "threads") or 1
            launcher.n_jobs = max(1, int(cpu_count()) // threads)
        # submitit_local runs all jobs at once; Slurm need not bind a job to the cores that it gives it.
        cores = launcher.get("cpus_per_task") or (1 if choice == "submitit_local" else None)
        if cores and "OMP_NUM_THREADS" not in {*os.environ, *config.hydra.job.env_set}:
            environment["OMP_NUM_THREADS"] = str(cores)
        config.hydra.overrides.hydra += [
            f"++hydra.job.env_set.{name}={quoted(value)}" for name, value in environment.items()
        ]

    @classmethod
    def take(cls) -> Sweep | None:
        """The sweep that this process has begun since it was last asked, if any."""
        begun, cls._begun = cls._begun, None
        return begun


def _compose_once() -> None:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    hydra.config_loader = JobLoader(hydra.config_loader)


def _prepare_study(config: DictConfig, objective: str | None) -> None:
    """What a study of Optuna needs beside what was given: which end is better, and a file in which it goes on."""
    sweeper, given = config.hydra.sweeper, " ".join(config.hydra.overrides.hydra)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its parts
    if objective and "hydra.sweeper.direction" not in given:
        sweeper.direction = "maximize" if higher_is_better(objective) else "minimize"
    if "hydra.sweeper.storage" not in given and str(config.hydra.sweep.dir) != str(config.runs_dir):
        directory = Path(config.hydra.sweep.dir)
        sweeper.storage, sweeper.study_name = storage(directory), sweeper.study_name or NAME
        take_up(directory, sweeper.study_name)


def _count(override: Override) -> int:
    """How many values a sweep takes of a key."""
    return len([*override.sweep_string_iterator()]) if override.is_sweep_override() else 1


def _without_plus(overrides: Sequence[Override], command: str) -> list[str]:
    """No `+key=value` with a key that the command does not know: without its plus Hydra refuses it at once."""
    loader, known = GlobalHydra.instance().config_loader(), given_names(command)
    return [
        word.lstrip("+") if key not in known and not loader.get_group_options(key) else word
        for word, key in ((str(override.input_line), override.key_or_group) for override in overrides)
    ]
