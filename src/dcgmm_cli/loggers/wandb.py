"""Weights & Biases without a network: `<run>/wandb/offline-run-*`, for `wandb sync`."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb

from dcgmm_cli.loggers.base import LoggedRun


class WeightsAndBiases:
    """Settings, measurements, figures and pictures; a run that goes on is the same run once it is synchronised."""

    known_as: str

    def __init__(self, run: LoggedRun) -> None:
        self.known_as = run.known_as or secrets.token_hex(4)
        self._run = wandb.init(
            project="dcgmm",
            id=self.known_as,
            name=run.name,
            dir=run.directory,
            config=dict(run.settings),
            mode="offline",
            resume="allow",
            reinit="create_new",  # replicas are runs side by side
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Log values."""
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """Its own process writes."""

    def finished(self, step: int, results: Mapping[str, float], files: Sequence[Path]) -> None:
        """Put figures into the summary, and log pictures."""
        self._run.summary.update(dict(results))
        pictures = {f"figures/{path.stem}": wandb.Image(str(path)) for path in files if path.suffix == ".png"}
        self._run.log(pictures, step=step)

    def close(self, status: str) -> None:
        """End the run; one that did not finish has another exit code."""
        self._run.finish(exit_code=0 if status == "finished" else 1)


begin = WeightsAndBiases
