"""A training run, opened by the commands that work on its model."""

import logging
from dataclasses import dataclass, replace

from dcgmm.checkpoints import TrainedRun, fitting, load_run
from dcgmm.datasets import ImageData, Listing
from dcgmm.datasets.loading import at_hand
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT
from dcgmm.model import DCGMM
from dcgmm.options import made
from dcgmm.runtime import choose_device, describe_device, set_threads
from dcgmm.training.weights import weights_by_use
from dcgmm_cli.job import Job
from dcgmm_cli.progress import reported
from dcgmm_cli.records import write_meta
from dcgmm_cli.results.reading import meta_of, read_run
from dcgmm_cli.runs import PLANNED, find_run, require_models, to_go_on
from dcgmm_cli.schema import FollowUpConfig
from dcgmm_cli.schema_train import TrainConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedRun:
    """A run with its model on the device that was asked for, and what it was trained with."""

    run: TrainedRun
    config: TrainConfig

    @property
    def model(self) -> DCGMM:
        """The run's model."""
        return self.run.model

    def listing(self) -> Listing:
        """The data set that the model was trained on a part of."""
        return Listing(self.config.dataset)

    def data(self) -> ImageData:
        """The images that the model was trained and tested on."""
        with reported("decode", "images") as report:
            return self.listing().load(self.config.dataset.classes, report)


def open_run(config: FollowUpConfig, job: Job) -> OpenedRun:
    """Set up the process, load the run's model, and write `meta.json` of the command that works on it.

    Raises:
        InputError: there is no such run, device or checkpoint.
    """
    set_threads(config.threads)
    device = choose_device(config.device)
    run = load_models(config.run, config.runs_dir)
    run.model.to(device).eval()
    with fitting(run.directory / CHECKPOINT):
        trained = made(TrainConfig, run.config)
    warn_if_unfinished(run)
    write_meta(job.directory, job.command, config, describe_device(device))
    opened = OpenedRun(run, replace(trained, dataset=at_hand(trained.dataset, config.dataset)))
    if trained.trainer.weights_by_use and not run.finished:
        try:
            weights_by_use(run.model, opened.data().train.images)
        except InputError as error:
            log.warning("mixture weights are as trained so far, not by use: %s", error)
    return opened


def load_models(run: str, runs_dir: str, key: str = "run") -> TrainedRun:
    """A training run as a command is given it; arguments as for `find_run`.

    Raises:
        InputError: there is no such run, or no checkpoint of its model yet.
    """
    directory = find_run(run, runs_dir, key)
    require_models(directory)
    return load_run(directory)


def warn_if_unfinished(run: TrainedRun) -> None:
    """Log how far a run's training has come, and how it goes on, where that is not its end."""
    status, planned = read_run(run.directory).results["status"], meta_of(run.directory).get(PLANNED)
    with fitting(run.directory / CHECKPOINT):
        steps = run.state["training"]["steps"]
    # One that is trained further, and was killed soon, has the checkpoint of its first end.
    if status == "finished" or (run.finished and planned in (None, steps)):
        return
    step = f"step {steps}" if planned is None else f"step {steps} of {planned}"
    if status == "running":
        log.warning("%s is still in training: its model is that of %s", run.directory, step)
        return
    what = "failed" if status == "failed" else "was interrupted"
    log.warning("%s %s at %s; go on with: %s", run.directory, what, step, to_go_on(run.directory))
