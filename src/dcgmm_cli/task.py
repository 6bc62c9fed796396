"""The function that Hydra calls, here or in another process: runs one command with its typed configuration."""

import importlib
import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from dcgmm_cli.errors import UserError

FAILURES: list[int] = []  # exit codes of the jobs that failed in this process
log = logging.getLogger(__name__)


def run_task(config: DictConfig) -> None:
    """Run a command. A failure is logged and recorded, not raised: in a sweep the other jobs run on."""
    from dcgmm_cli.interruption import Interruption
    from dcgmm_cli.runs import recorded

    hydra = HydraConfig.get()
    module = importlib.import_module(f"dcgmm_cli.commands.{hydra.job.name}")
    typed = OmegaConf.to_object(config)
    written: Path | None = None
    try:
        with Interruption().installed() as interruption:
            if hasattr(module, "run_in_place"):  # a command without a run directory says where it wrote
                written = module.run_in_place(typed)
            else:
                written = Path(hydra.runtime.output_dir)
                with recorded(written, hydra.job.name) as result:
                    module.run(typed, list(hydra.overrides.task), written, result, interruption)
    except Exception as error:
        mistake = isinstance(error, UserError)
        log.error("%s", error if mistake else f"{type(error).__name__}: {error}", exc_info=not mistake)
        FAILURES.append(2 if mistake else 1)
    if written is not None:
        print(written)
