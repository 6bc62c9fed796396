"""`dcgmm train`: train a model, or go on with an interrupted run."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.table import Table

from dcgmm.checkpoints import check_names, fitting, read_state
from dcgmm.datasets import ImageData, load
from dcgmm.datasets.loading import at_hand
from dcgmm.datasets.options import root_of
from dcgmm.distributed import Processes
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT, DETECTOR
from dcgmm.model import DCGMM
from dcgmm.options import made, plain
from dcgmm.runtime import choose_device, describe_device, set_threads
from dcgmm.states import build_model
from dcgmm.training.fit import length_of, short_training
from dcgmm.training.trainer import Trainer
from dcgmm_cli.job import Job
from dcgmm_cli.keys import flat
from dcgmm_cli.loggers.feeding import Loggers
from dcgmm_cli.progress import reported
from dcgmm_cli.records import keep_metrics, write_meta
from dcgmm_cli.runs import RESULT, is_finished, point_latest, require_models, training_of
from dcgmm_cli.schema import marked
from dcgmm_cli.schema_train import TrainConfig
from dcgmm_cli.starts import STARTED_BY, starters
from dcgmm_cli.terminal import print_table
from dcgmm_cli.trainings import Training, homes_of, in_brief

log = logging.getLogger(__name__)


def run(config: TrainConfig, job: Job) -> None:
    """Train the configured model into the job's directory.

    Raises:
        InputError: a value of the configuration cannot be, data are missing, or training diverges.
        Interrupted: a signal came; a checkpoint has been written.
    """
    directory, processes = job.directory, Processes.current()
    state = processes.from_first(lambda: _state(directory, resumed=config.run is not None))
    if config.run is not None:
        assert state is not None
        with fitting(directory / CHECKPOINT):
            recorded = made(TrainConfig, state["config"])
        config = _resumed_config(recorded, config, job.overrides)
    config.dataset.root = str(root_of(config.dataset.root))  # where the data are now
    set_threads(config.trainer.threads)
    device = choose_device(config.trainer.device)
    with reported("decode", "images") as report:
        data = load(config.dataset, report=report)
    counts = len(data.train), len(data.test)
    log.info("%s: %d training and %d test images from %s", data.name, *counts, data.source)
    log.info("classes: %s", ", ".join(data.chosen_names))
    if others := [name for name in data.class_names if name not in data.chosen_names]:
        log.info("not trained on, and no part of the test images: %s", ", ".join(others))
    processes.require_same({**_settings(config), "training images": data.digest})
    begun = _begin(config, data, device) if state is None else _go_on(state, config, data, device, directory)
    training = Training(config, data, begun[0], directory, *homes_of(directory, config), begun[1])
    about = training.about()
    log.info("%s", in_brief(about["layers"]))
    on = describe_device(device)
    if "WORLD_SIZE" in os.environ:
        on += f", {processes.size} processes"
        about[STARTED_BY] = starters(processes)
    if processes.is_first:
        _open(training, job.command, on, about)
    settings = zip(training.homes, map(plain, training.configs), strict=True)
    with Loggers(config.logger if processes.is_first else None, dict(settings), config.runs_dir) as loggers:
        training.train(job.interruption, loggers)
        job.interruption.check()
        results = training.finish(loggers)
    if not processes.is_first:
        return
    job.result.update(results[0] if len(results) == 1 else training.facts())
    if len(results) > 1:
        job.result["replicas"] = [str(home.relative_to(directory)) for home in training.homes]
    _print_table(results)


def _state(directory: Path, *, resumed: bool) -> dict[str, Any] | None:
    """What a training goes on from; also one that a sweep, or torchrun, starts again in its directory."""
    if (directory / CHECKPOINT).exists():
        return read_state(directory / CHECKPOINT)
    if not resumed:
        return None
    if training_of(directory) != directory:
        require_models(directory)
    raise InputError(f"{directory} has no checkpoint ({CHECKPOINT}) to go on from: train anew")


def _settings(config: TrainConfig) -> dict[str, Any]:
    """What must be the same in all processes, by its key."""
    return {key: value for key, value in flat(plain(config)).items() if key not in marked("incidental")}


def _open(training: Training, command: str, device: str, about: dict[str, Any]) -> None:
    """Write what is known before the first step, and remove what a start before this one has left."""
    config, directory = training.config, training.directory
    places = {directory: config, **dict(zip(training.homes, training.configs, strict=True))}
    for place, own in places.items():
        write_meta(place, command, own, device, **about)
    for place in places:  # last: a run that cannot be gone on with keeps what it had
        for stale in (RESULT, DETECTOR):
            (place / stale).unlink(missing_ok=True)
    point_latest(directory, config.runs_dir)


def _begin(config: TrainConfig, data: ImageData, device: torch.device) -> tuple[Trainer, float]:
    """A training from random start values, one model for each seed, and the seconds that it has taken: none."""
    generators = _generators(config)
    models = [DCGMM.build(data.train.images.shape[1:], config.arch, config.gmm) for _ in generators]
    for model, generator in zip(models, generators, strict=True):
        model.draw_start(generator)
    trainer = _trainer(config, data, models, generators, device)
    if advice := short_training(trainer, "trainer."):
        log.warning("%s", advice)
    if length := length_of(trainer):
        log.info("%s; trainer.epochs or trainer.steps change it", length)
    return trainer, 0.0


def _go_on(
    state: dict[str, Any], config: TrainConfig, data: ImageData, device: torch.device, directory: Path
) -> tuple[Trainer, float]:
    """A training from its last checkpoint, and the seconds that it has taken.

    Raises:
        InputError: it has come to its end, its checkpoint is damaged, or the training images are others.
    """
    with fitting(directory / CHECKPOINT):
        check_names(state)
    _check_data(state, data, directory)
    parts = state.get("replicas", [state])
    generators = _generators(config)
    with fitting(directory / CHECKPOINT):
        if not isinstance(parts, list) or len(parts) != len(generators):
            found = len(parts) if isinstance(parts, list) else "no"
            raise InputError(f"it is of {found} models, not of {len(generators)}")
        models = [build_model(part["model"]) for part in parts]
        trainer = _trainer(config, data, models, generators, device)
        trainer.load_state_dicts([part["training"] for part in parts])
        seconds = float(parts[0]["training"]["seconds"])
    done = f"{round(trainer.epoch, 2):g} epochs"
    if trainer.steps >= trainer.total_steps and is_finished(directory):
        raise InputError(
            f"{directory} has finished its {done}; give trainer.epochs=N (or trainer.steps=N) to train it further"
        )
    if trainer.steps > trainer.total_steps:
        raise InputError(f"{directory} has done {done}, {trainer.steps} steps; {trainer.total_steps} would be fewer")
    for home in homes_of(directory, config)[0] if Processes.current().is_first else []:
        keep_metrics(home, lambda line: line["step"] <= trainer.steps)
    log.info("going on at step %d of %d", trainer.steps, trainer.total_steps)
    return trainer, seconds


def _check_data(state: dict[str, Any], data: ImageData, directory: Path) -> None:
    """Check that a training goes on with the images that it began with.

    Raises:
        InputError: they are others.
    """
    if state.get("data_digest", data.digest) != data.digest:  # a checkpoint of before they were kept has none
        raise InputError(
            f"{data.source} does not hold the images that {directory} began with (classes "
            f"{', '.join(state['classes'])}), but {len(data.train)} others (classes {', '.join(data.chosen_names)}): "
            "say where they are (dataset.path or dataset.root), or train anew"
        )


def _generators(config: TrainConfig) -> list[torch.Generator]:
    seeds = range(config.seed, config.seed + config.trainer.replicas)
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _trainer(
    config: TrainConfig, data: ImageData, models: list[DCGMM], generators: list[torch.Generator], device: torch.device
) -> Trainer:
    model = models[0] if len(models) == 1 else DCGMM.side_by_side(models)
    model.to(device=device, dtype=getattr(torch, config.trainer.dtype))
    return Trainer(model, data.train.images, config.trainer, generators)


def _resumed_config(config: TrainConfig, given: TrainConfig, overrides: list[str]) -> TrainConfig:
    """A run's configuration with what may change on the command line.

    Raises:
        InputError: an override would make it another run.
    """
    free = marked("incidental") | marked("extendable")
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    for key in keys:
        if key == "run":
            continue
        if key not in free:
            changeable = ", ".join(sorted(key for key in free if key.startswith(("trainer.", "dataset.", "logger"))))
            raise InputError(f"a resumed run keeps its {key}; what may change is {changeable}")
        source, target, (*path, name) = given, config, key.split(".")
        for part in path:
            source, target = getattr(source, part), getattr(target, part)
        setattr(target, name, getattr(source, name))
    if "trainer.epochs" in keys:  # either replaces the other
        config.trainer.steps = None
    if "trainer.steps" in keys:
        config.trainer.epochs = None
    return config if "dataset.root" in keys else replace(config, dataset=at_hand(config.dataset))


def _print_table(results: list[dict[str, Any]]) -> None:
    """A row each GMM layer; of models side by side mean and deviation."""
    facts = results[0]
    title = f"{facts['steps']:,} steps, {facts['epochs']:.4g} epochs, {facts['train_seconds']:.1f} s"
    table = Table(title=title if len(results) == 1 else f"{len(results)} replicas, {title}")
    for column in ("layer", "train log-likelihood", "test log-likelihood", "sigma", "weights in use"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for name, layer in facts["layers"].items():

        def cell(key: str, form: str, name: str = name) -> str:
            values = [result["layers"][name][key] for result in results]
            if None in values:
                return "-"
            deviation = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
            return f"{fmean(values):{form}}{deviation}"

        table.add_row(
            name,
            cell("train_log_likelihood", ".2f"),
            cell("test_log_likelihood", ".2f"),
            f"{max(result['layers'][name]['sigma'] for result in results):.3g}",
            f"{min(result['layers'][name]['weights_in_use'] for result in results)} of {layer['components']}",
        )
    print_table(table)
    densities = [result["density"] for result in results]
    if "reason" in densities[0]:
        print(f"bits per dimension: none, the model is no density of the pixels: {densities[0]['reason']}")
    else:
        nats, bits = (fmean(each[key] for each in densities) for key in ("nats", "bits_per_dimension"))
        print(f"density of the pixels of test images: {nats:.2f} nats, {bits:.3f} bits per dimension")
