"""The function that Hydra calls, here or in another process: runs one command with its typed configuration."""

import importlib
import logging
import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dcgmm_cli.config import FollowUpConfig
from dcgmm_cli.errors import UserError
from dcgmm_cli.hydra_glue import check_keys, register
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.runs import CHECKPOINT, META, find_run, recorded
from dcgmm_cli.sweeps import JobOutcome, is_done, tell

SEEDS = 2**32  # NumPy takes no seed from here on
FAILURES: list[int] = []  # exit codes of the jobs that failed in this process
log = logging.getLogger(__name__)

register()  # a process that runs a sweep's jobs begins here


def run_task(config: DictConfig) -> None:
    """Run a command. A failure is logged and told, not raised: in a sweep the other jobs run on."""
    hydra = HydraConfig.get()
    sweeps = hydra.mode == RunMode.MULTIRUN
    overrides = list(hydra.overrides.task)
    module = importlib.import_module(f"dcgmm_cli.commands.{hydra.job.name}")
    # A command without a run directory says where it wrote.
    written = None if hasattr(module, "run_in_place") else Path(hydra.runtime.output_dir)
    begun = JobOutcome(hydra.job.num if sweeps else 0, overrides, "begun", str(written) if written else None)
    tell(begun)
    outcome = replace(begun, status="finished")
    try:
        check_keys(config, hydra.job.name)
        typed: Any = OmegaConf.to_object(config)
        if not 0 <= getattr(typed, "seed", 0) < SEEDS:
            raise UserError(f"seed must lie in [0, {SEEDS - 1}], not {typed.seed}")
        with Interruption().installed() as interruption:
            if written is None:
                written = module.run_in_place(typed)
            elif sweeps and (written / META).is_file() and is_done(written, asdict(_with_run_found(typed))):
                outcome = replace(begun, status="skipped")
            else:
                with recorded(written, hydra.job.name) as result:
                    module.run(_with_run_found(typed), overrides, written, result, interruption)
    except Exception as error:
        mistake = isinstance(error, UserError)
        text = str(error) if mistake else f"{type(error).__name__}: {error}"
        log.error("%s", text, exc_info=not mistake)
        outcome = replace(begun, status="failed", code=2 if mistake else 1, error=text)
        FAILURES.append(outcome.code)
    except KeyboardInterrupt as error:
        code = 128 + int(getattr(error, "signum", 2))
        tell(replace(begun, status="interrupted", code=code, error="stopped by a signal"))
        if hydra.job.name == "train" and not sweeps and written is not None and (written / CHECKPOINT).is_file():
            log.info("go on with: dcgmm train %s", shlex.quote(f"run={written}"))
        try:
            _print(written)
        except BrokenPipeError:  # Ctrl-C has stopped the reader, such as `tee`, as well
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
    tell(outcome)
    _print(written)


def _print(written: Path | None) -> None:
    if written is not None:
        print(written, flush=True)


def _with_run_found(config: Any) -> Any:
    """A command's configuration with the directory of the run that it works on."""
    if isinstance(config, FollowUpConfig):
        return replace(config, run=str(find_run(config.run, config.runs_dir)))
    return config
