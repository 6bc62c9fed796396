"""Configuration of `dcgmm train`, and the options that the other commands take as well. Imports nothing slow."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dcgmm.datasets.options import DatasetOptions
from dcgmm.errors import OptionError
from dcgmm.model.options import Architecture, GMMOptions, LayerType
from dcgmm.options import PATH, Options, Rule, among, one_or_several, option, whole
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


OBJECTIVE = Rule(
    "layers.gmm1.test_log_likelihood, or that of another layer, train_log_likelihood, weights_in_use; density.nats, "
    "density.bits_per_dimension; or train_seconds",
    lambda key: bool(re.fullmatch(OBJECTIVES, key)),
)
OBJECTIVES = (
    r"layers\.gmm[1-9]\d*\.(train_log_likelihood|test_log_likelihood|weights_in_use)"
    r"|density\.(nats|bits_per_dimension)|train_seconds"
)


@dataclass
class SweepOptions(Options):
    """What a sweep of trainings searches for."""

    objective: str | None = option(
        None,
        "key of result.json that jobs are compared by, and that a sweeper such as optuna searches by, as in "
        "layers.gmm1.test_log_likelihood; measured on held-out training images (dataset.holdout); null: nothing",
        OBJECTIVE,
        incidental=True,
    )
    on_test_images: bool = option(
        False,
        "whether the objective may be measured on the test images, which nothing should be chosen by",
        incidental=True,
    )


@dataclass(kw_only=True)
class TrainConfig(Options):
    """`dcgmm train`."""

    arch: Architecture = option(help="")
    dataset: DatasetOptions = option(help="")
    gmm: GMMOptions = option(GMMOptions)
    trainer: TrainerConfig = option(TrainerConfig)
    seed: int = seed_option("of start values and shuffling")
    runs_dir: str = option("runs", "where run directories are made", PATH, incidental=True)
    logger: Any | None = option(
        None,
        f"where measurements go as well: {', '.join(LOGGERS)}, or several, as in [tensorboard,mlflow]; null: nowhere",
        one_or_several(among(LOGGERS)),
        choices=LOGGERS,
        incidental=True,
    )
    sweep: SweepOptions = option(SweepOptions)
    run: str | None = option(None, "an interrupted run to go on with: its path, its name, or latest")

    def __post_init__(self) -> None:
        super().__post_init__()
        key = self.sweep.objective
        if key is None:
            return
        layers = sum(layer.type is LayerType.gmm for layer in self.arch.layers)
        if (found := re.match(r"layers\.gmm(\d+)", key)) and int(found[1]) > layers:
            raise OptionError("sweep.objective", f"of one of the {layers} GMM layers", key, type(self))
        tested = "test" in key or key.startswith("density")
        if tested and not self.dataset.holdout and not self.sweep.on_test_images:
            rule = "measured on held-out training images: give dataset.holdout=0.1, or sweep.on_test_images=true"
            raise OptionError("sweep.objective", rule, key, type(self))
