"""Configuration of `dcgmm train`, and the options that the other commands take as well. Imports nothing slow."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dcgmm.datasets.options import DatasetOptions
from dcgmm.model.options import Architecture, GMMOptions
from dcgmm.options import Options, among, one_or_several, option, whole
from dcgmm.training.options import TrainerOptions

SEEDS = 2**32  # NumPy takes no seed from here on
THREADS = 1024  # some thousands more end the process
DEVICES = ("auto", "cpu", "cuda")
LOGGERS = ("tensorboard", "mlflow", "wandb")


class NumberType(StrEnum):
    """Number types of parameters."""

    float32 = "float32"
    float64 = "float64"


def device_option() -> Any:
    """Where something is computed."""
    return option("auto", "auto (cuda where there is one), cpu, cuda or cuda:N", choices=DEVICES, incidental=True)


def threads_option() -> Any:
    """On how many threads."""
    help = "CPU threads; null: as many as the machine offers"
    return option(None, help, whole(least=1, most=THREADS), incidental=True)


def seed_option(help: str) -> Any:
    """Of what is random; `help` says what that is."""
    return option(0, help, whole(least=0, most=SEEDS - 1))


@dataclass
class TrainerConfig(TrainerOptions):
    """How a model is trained, and on what."""

    device: str = device_option()
    dtype: NumberType = option(NumberType.float32, "number type of the parameters")
    threads: int | None = threads_option()
    replicas: int = option(
        1, "models trained side by side, of seeds seed, seed + 1, ...; each gets its own run directory", whole(1, 1000)
    )
    checkpoint_epochs: int = option(
        1, "a checkpoint is written every so many epochs, and at the end", whole(least=1), incidental=True
    )


@dataclass(kw_only=True)
class TrainConfig(Options):
    """`dcgmm train`."""

    arch: Architecture = option(help="")
    dataset: DatasetOptions = option(help="")
    gmm: GMMOptions = option(GMMOptions)
    trainer: TrainerConfig = option(TrainerConfig)
    seed: int = seed_option("of start values and shuffling")
    runs_dir: str = option("runs", "where run directories are made", incidental=True)
    logger: Any | None = option(
        None,
        f"where measurements go as well: {', '.join(LOGGERS)}, or several, as in [tensorboard,mlflow]; null: nowhere",
        one_or_several(among(LOGGERS)),
        choices=LOGGERS,
        incidental=True,
    )
    run: str | None = option(None, "an interrupted run to go on with: its path, its name, or latest")
