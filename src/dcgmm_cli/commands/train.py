"""`dcgmm train`: train a model, or go on with an interrupted run."""

import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from dcgmm_cli.checkpoints import load_checkpoint, save_checkpoint
from dcgmm_cli.config import TrainConfig
from dcgmm_cli.datasets import ImageData, load
from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.model import DCGMM, AnnealingRule, Folding, GMMOptions, Power
from dcgmm_cli.outliers import Detector
from dcgmm_cli.plots import patch_images, save_figure, save_image, tile, training_curves
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.runs import (
    CHECKPOINT,
    REPLICAS,
    RESULT,
    append_metrics,
    keep_metrics,
    point_latest,
    read_json,
    read_metrics,
    write_meta,
    write_result,
)
from dcgmm_cli.runtime import choose_device, choose_dtype, describe_device, set_up_cpu
from dcgmm_cli.statistics import Moments, log_likelihood_moments
from dcgmm_cli.trained import at_hand
from dcgmm_cli.training import LayerReport, Trainer, TrainerOptions

log = logging.getLogger(__name__)

# What may differ when a run is resumed; anything else would make it another run.
RESUMABLE = (
    "run",
    "runs_dir",
    "dataset.root",
    "trainer.epochs",
    "trainer.device",
    "trainer.threads",
    "trainer.checkpoint_epochs",
)


def run(
    config: TrainConfig,
    overrides: list[str],
    directory: Path,
    result: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Train the configured model into `directory`, and fill `result`.

    Raises:
        UserError: a value of the configuration cannot be, data are missing, or training diverges.
        Interrupted: a signal came; a checkpoint has been written.
    """
    state = None
    if config.run is not None:
        state = load_checkpoint(directory)
        config = _resumed_config(state, overrides)
    elif (directory / CHECKPOINT).exists():  # a sweep that is given again has begun this job before
        state = load_checkpoint(directory)
    set_up_cpu(config.trainer.threads, "trainer.threads")
    device, dtype = choose_device(config.trainer.device, "trainer.device"), choose_dtype(config.trainer.dtype)
    if config.trainer.checkpoint_epochs < 1:
        raise UserError(f"trainer.checkpoint_epochs must be at least 1, not {config.trainer.checkpoint_epochs}")
    if config.trainer.replicas < 1:
        raise UserError(f"trainer.replicas must be at least 1, not {config.trainer.replicas}")
    options, gmm_options = _trainer_options(config), GMMOptions(**asdict(config.gmm))
    data = load(config.dataset)
    log.info(
        "%s: %d training and %d test images from %s",
        data.name,
        len(data.train.images),
        len(data.test.images),
        data.source,
    )
    seeds = range(config.seed, config.seed + config.trainer.replicas)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    model = _start(config, data, gmm_options, generators).to(device=device, dtype=dtype)
    trainer = Trainer(model, data.train.images.to(device), options, generators)
    homes, configs = _homes(directory, config)
    if state is None:
        _warn_of_short_budget(trainer, options)
    else:
        trainer.load_state_dicts(state["replicas"] if len(seeds) > 1 else [state])
        done = f"{round(trainer.epoch, 2):g} epochs"
        if trainer.steps >= trainer.total_steps and _is_finished(directory):
            raise UserError(f"{directory} has finished its {done}; give trainer.epochs=N to train it further")
        if trainer.steps > trainer.total_steps:
            raise UserError(f"{directory} has done {done}; trainer.epochs={options.epochs} would be fewer")
        for home in homes:
            keep_metrics(home, lambda line: line["step"] <= trainer.steps)
        log.info("going on at step %d of %d", trainer.steps, trainer.total_steps)
    group = _Group(config, data, trainer, directory, homes, configs)
    for place, own in {directory: config, **dict(zip(homes, configs, strict=True))}.items():
        (place / RESULT).unlink(missing_ok=True)
        write_meta(place, asdict(own), describe_device(device))
    point_latest(directory, config.runs_dir)
    started = time.monotonic()
    group.train(interruption)
    seconds = time.monotonic() - started
    interruption.check()
    group.finish(result, seconds)


def _is_finished(directory: Path) -> bool:
    """Whether a run came to its end: one that was stopped after its last step still has its scores to make."""
    return (directory / RESULT).is_file() and read_json(directory / RESULT).get("status") == "finished"


def _start(config: TrainConfig, data: ImageData, options: GMMOptions, generators: list[torch.Generator]) -> DCGMM:
    """The model with its start values, or one model for each generator side by side."""
    layers = [asdict(layer) for layer in config.arch.layers]
    models = [DCGMM.build(data.train.images.shape[1:], layers, options) for _ in generators]
    for model, generator in zip(models, generators, strict=True):
        model.draw_start(generator)
    return models[0] if len(models) == 1 else DCGMM.side_by_side(models)


def _resumed_config(state: dict[str, Any], overrides: list[str]) -> TrainConfig:
    """The checkpoint's configuration with what may change on the command line.

    Raises:
        UserError: an override would make it another run.
    """
    keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
    for key in keys:
        if key not in RESUMABLE:
            raise UserError(f"a resumed run keeps its {key}; what may change is {', '.join(RESUMABLE[2:])}")
    merged = OmegaConf.merge(OmegaConf.structured(TrainConfig), state["config"], OmegaConf.from_dotlist(overrides))
    config = OmegaConf.to_object(merged)
    assert isinstance(config, TrainConfig)
    return config if "dataset.root" in keys else replace(config, dataset=at_hand(config.dataset))


def _trainer_options(config: TrainConfig) -> TrainerOptions:
    trainer, annealing, rate = config.trainer, config.trainer.annealing, config.trainer.learning_rate
    if not 0 < annealing.alpha <= 1:
        raise UserError(f"trainer.annealing.alpha must lie in (0, 1], not {annealing.alpha}")
    rule = AnnealingRule(
        window=round(1 / annealing.alpha),
        sigma_end=annealing.sigma_end,
        rate_start=rate.start,
        rate_end=rate.end,
        delta=annealing.delta,
        gamma=annealing.gamma,
    )
    return TrainerOptions(
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        centroid_epochs=trainer.centroid_epochs,
        annealing=rule,
        logits_factor=rate.logits,
        loc_factor=rate.loc,
        precision_sqrt_factor=rate.precision_sqrt,
    )


def _warn_of_short_budget(trainer: Trainer, options: TrainerOptions) -> None:
    needed = max(options.annealing.minimal_steps(gmm.components) for gmm in trainer.model.gmms.values())
    if trainer.total_steps < needed:
        log.warning(
            "annealing needs at least %d steps to reach its end, %d epochs give %d: raise trainer.epochs to %d or "
            "trainer.annealing.alpha to %.2g",
            needed,
            options.epochs,
            trainer.total_steps,
            math.ceil(needed / trainer.steps_per_epoch),
            min(1.0, needed / trainer.total_steps / options.annealing.window),
        )


def _homes(directory: Path, config: TrainConfig) -> tuple[list[Path], list[TrainConfig]]:
    """A run directory and configuration for each model: the run's own, or those of each replica in it."""
    if config.trainer.replicas == 1:
        return [directory], [config]
    seeds = range(config.seed, config.seed + config.trainer.replicas)
    alone = replace(config.trainer, replicas=1)
    homes = [directory / REPLICAS / f"seed-{seed}" for seed in seeds]
    return homes, [replace(config, seed=seed, trainer=alone) for seed in seeds]


@dataclass(frozen=True)
class _Group:
    """One model, or several side by side, on the way from start values to finished run directories."""

    config: TrainConfig
    data: ImageData
    trainer: Trainer
    directory: Path
    homes: list[Path]  # each model's run directory
    configs: list[TrainConfig]  # and configuration

    def train(self, interruption: Interruption) -> None:
        """Take all steps, with measurements at each window's end and a checkpoint every so many epochs."""
        trainer, pending = self.trainer, dict[Path, list[dict[str, Any]]]()

        def write_measurements() -> None:
            for home, lines in pending.items():
                append_metrics(home, lines)
            pending.clear()

        def step() -> list[dict[str, LayerReport]] | None:
            try:
                return trainer.step()
            except UserError:  # it diverged: what it did on the way there is of interest
                write_measurements()
                raise

        def save() -> None:
            # Measurements first: what lies behind the checkpoint is cut off when the run is resumed.
            write_measurements()
            self._save(trainer.state_dicts())

        every, total_epochs = self.config.trainer.checkpoint_epochs, trainer.options.epochs
        with ProgressBar("train", trainer.total_steps, "steps", trainer.steps) as bar, interruption.held():
            while trainer.steps < trainer.total_steps:
                reports = step()
                if reports:
                    for home, report in zip(self.homes, reports, strict=True):
                        layers = {name: asdict(layer) for name, layer in report.items()}
                        line = {"step": trainer.steps, "epoch": round(trainer.epoch, 4), "layers": layers}
                        pending.setdefault(home, []).append(line)
                    bar.update(trainer.steps, f"epoch {trainer.epoch:.1f} of {total_epochs}  {_brief(reports)}")
                if trainer.steps % (every * trainer.steps_per_epoch) == 0 or trainer.steps == trainer.total_steps:
                    save()
                if interruption.pending:
                    save()
                    interruption.check()

    def _save(self, states: list[dict[str, Any]]) -> None:
        """Write the one checkpoint that training goes on from: all models are at the same step in it."""
        state = states[0] if len(states) == 1 else {"replicas": states}
        save_checkpoint(self.directory, {**self._description(self.config), **state})

    def _description(self, config: TrainConfig) -> dict[str, Any]:
        shape = list(self.trainer.model.input_shape)
        return {"config": asdict(config), "input_shape": shape, "class_names": list(self.data.class_names)}

    def finish(self, result: dict[str, Any], seconds: float) -> None:
        """Score training and test images, and write final checkpoints (with a ready detector), figures and results."""
        trainer = self.trainer
        models, states = trainer.model.alone(), trainer.state_dicts()
        parts = zip(self.homes, self.configs, models, states, trainer.sigma(), strict=True)
        single = len(self.homes) == 1
        facts = {
            "steps": trainer.steps,
            "epochs": trainer.options.epochs,
            "train_seconds": round(seconds, 3),
            "train_images": len(self.data.train.images),
            "test_images": len(self.data.test.images),
            "data_source": self.data.source,
        }
        results = []
        for home, config, model, state, sigma in parts:
            started = time.monotonic()
            detector = Detector.fit(model, self.data.train.images.to(model.device))
            save_checkpoint(home, {**self._description(config), **state, **detector.state_dict()})
            _save_figures(model, home)
            results.append({"layers": _layer_results(model, detector, self.data, sigma)} | facts)
            if not single:
                finished = {"command": "train", **results[-1], "status": "finished"}
                write_result(home, finished, seconds + time.monotonic() - started)
        result.update(results[0] if single else facts)
        if not single:
            result["replicas"] = [str(home.relative_to(self.directory)) for home in self.homes]
        _print_table(results)


def _layer_results(
    model: DCGMM, detector: Detector, data: ImageData, sigma: dict[str, float]
) -> dict[str, dict[str, Any]]:
    train = detector.positions
    test = log_likelihood_moments(model, data.test.images.to(model.device)) if len(data.test.images) else {}
    return {
        name: {
            "train_log_likelihood": _mean(train[name]),
            "test_log_likelihood": _mean(test[name]) if test else None,
            "sigma": sigma[name],
            "components": gmm.components,
            "weights_in_use": int((gmm.log_weights.exp() > 0.1 / gmm.components).sum()),
        }
        for name, gmm in model.gmms.items()
    }


def _brief(reports: list[dict[str, LayerReport]]) -> str:
    """The GMM layers' progress in one line; of models side by side their mean."""

    def mean(name: str, key: str) -> float:
        return fmean(getattr(report[name], key) for report in reports)

    return "  ".join(
        f"{name}: {mean(name, 'log_likelihood'):.1f} nats, sigma {mean(name, 'sigma'):.3g}, "
        f"rate {mean(name, 'learning_rate'):.3g}"
        for name in reports[0]
    )


def _mean(moments: Moments) -> float:
    return float(moments.mean.mean())


def _save_figures(model: DCGMM, home: Path) -> None:
    """Training curves, and the first GMM layer's centroids where they are patches of an image."""
    if metrics := read_metrics(home):  # none, where training was shorter than one annealing window
        save_figure(training_curves(metrics), home / "figures" / "training.png")
    gmm, layers = model.gmms["gmm1"], [layer for layer in model.layers if not isinstance(layer, Power)]
    first = layers[0]
    if isinstance(first, Folding) and layers[1] is gmm and model.input_shape.channels in (1, 3):
        patches = patch_images(model.pixel_values(gmm.loc.detach()), first.window.kernel, model.input_shape)
        path = home / "figures" / "centroids_gmm1.png"
        save_image(tile(patches), path, enlarge=max(1, 64 // first.window.kernel[0]))


def _print_table(results: list[dict[str, Any]]) -> None:
    """A row each GMM layer; of models side by side mean and deviation."""
    facts = results[0]
    title = f"{facts['steps']:,} steps, {facts['epochs']} epochs, {facts['train_seconds']:.1f} s"
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
    Console().print(table)
