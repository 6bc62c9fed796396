"""A finished training run, opened by the commands that work on its model."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dcgmm_cli.checkpoints import build_model, load_checkpoint
from dcgmm_cli.config import DataRootConfig, DatasetConfig, FollowUpConfig, TrainConfig
from dcgmm_cli.datasets import ImageData, load
from dcgmm_cli.datasets.catalogue import KNOWN
from dcgmm_cli.model import DCGMM
from dcgmm_cli.runs import find_run, write_meta
from dcgmm_cli.runtime import choose_device, describe_device, set_up_cpu


@dataclass(frozen=True)
class TrainedRun:
    """A run's model on the device that was asked for, and what it was trained with."""

    directory: Path
    model: DCGMM
    config: TrainConfig
    checkpoint: dict[str, Any]

    def data(self) -> ImageData:
        """The images that the model was trained and tested on."""
        return load(self.config.dataset)


def at_hand(dataset: DatasetConfig) -> DatasetConfig:
    """A run's data set where it is now: under the root it was trained with, or else under today's default.

    The root says where data are, not what they are, and a run may be on another machine by now.
    """
    known = KNOWN.get(dataset.name)
    folder = "" if known is None or known.kind == "sample" else known.folder  # other data need no root
    if os.path.isdir(Path(dataset.root).expanduser() / folder):  # Path.is_dir raises where one may not look
        return dataset
    return replace(dataset, root=str(OmegaConf.structured(DataRootConfig).root))


def open_run(config: FollowUpConfig, directory: Path) -> TrainedRun:
    """Set up the process, load the run's model, and write `meta.json` of the command that works in `directory`.

    Raises:
        UserError: there is no such run, device or checkpoint.
    """
    set_up_cpu(config.threads)
    device = choose_device(config.device)
    run = find_run(config.run, config.runs_dir)
    checkpoint = load_checkpoint(run)
    merged = OmegaConf.merge(OmegaConf.structured(TrainConfig), checkpoint["config"])
    train_config = OmegaConf.to_object(merged)
    assert isinstance(train_config, TrainConfig)
    train_config = replace(train_config, dataset=at_hand(train_config.dataset))
    write_meta(directory, asdict(config), describe_device(device))
    return TrainedRun(run, build_model(checkpoint).to(device).eval(), train_config, checkpoint)
