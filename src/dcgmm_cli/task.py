"""The function that Hydra calls, here or in another process: runs one command with its typed configuration."""

import importlib
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dcgmm_cli.config import FollowUpConfig
from dcgmm_cli.errors import UserError
from dcgmm_cli.hydra_glue import register
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.runs import find_run, recorded
from dcgmm_cli.sweeps import JobOutcome, is_done, tell

FAILURES: list[int] = []  # exit codes of the jobs that failed in this process
log = logging.getLogger(__name__)

register()  # a process that runs a sweep's jobs begins here


def run_task(config: DictConfig) -> None:
    """Run a command. A failure is logged and told, not raised: in a sweep the other jobs run on."""
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    module = importlib.import_module(f"dcgmm_cli.commands.{hydra.job.name}")
    # A command without a run directory says where it wrote.
    written = None if hasattr(module, "run_in_place") else Path(hydra.runtime.output_dir)
    outcome = JobOutcome(overrides, "finished", 0)
    try:
        typed: Any = OmegaConf.to_object(config)
        with Interruption().installed() as interruption:
            if written is None:
                written = module.run_in_place(typed)
            else:
                if isinstance(typed, FollowUpConfig):
                    typed = replace(typed, run=str(find_run(typed.run, typed.runs_dir)))
                if hydra.mode == RunMode.MULTIRUN and is_done(written, asdict(typed)):
                    outcome = replace(outcome, status="skipped")
                else:
                    with recorded(written, hydra.job.name) as result:
                        module.run(typed, overrides, written, result, interruption)
    except Exception as error:
        mistake = isinstance(error, UserError)
        text = str(error) if mistake else f"{type(error).__name__}: {error}"
        log.error("%s", text, exc_info=not mistake)
        outcome = replace(outcome, status="failed", code=2 if mistake else 1, error=text)
        FAILURES.append(outcome.code)
    except KeyboardInterrupt as error:
        code = 128 + int(getattr(error, "signum", 2))
        tell(replace(outcome, status="interrupted", code=code, error="stopped by a signal"))
        raise
    tell(outcome)
    if written is not None:
        print(written, flush=True)
