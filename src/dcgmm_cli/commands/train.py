"""`dcgmm train`: train a model, or go on with an interrupted run."""

import logging
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from dcgmm_cli.checkpoints import load_checkpoint, save_checkpoint
from dcgmm_cli.config import TrainConfig
from dcgmm_cli.datasets import ImageData, load
from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, AnnealingRule, Folding, GMMOptions
from dcgmm_cli.outliers import Detector
from dcgmm_cli.plots import patch_images, save_figure, save_image, tile, training_curves
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.runs import RESULT, append_metrics, keep_metrics, point_latest, read_metrics, write_meta
from dcgmm_cli.runtime import Interruption, choose_device, choose_dtype, describe_device, set_up_cpu
from dcgmm_cli.statistics import Moments, log_likelihood_moments
from dcgmm_cli.training import LayerReport, Trainer, TrainerOptions

log = logging.getLogger(__name__)

# What may differ when a run is resumed; anything else would make it another run.
RESUMABLE = (
    "run",
    "runs_dir",
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
    set_up_cpu(config.trainer.threads)
    device, dtype = choose_device(config.trainer.device), choose_dtype(config.trainer.dtype)
    if config.trainer.checkpoint_epochs < 1:
        raise UserError(f"trainer.checkpoint_epochs must be at least 1, not {config.trainer.checkpoint_epochs}")
    options, gmm_options = _trainer_options(config), GMMOptions(**asdict(config.gmm))
    data = load(config.dataset)
    log.info(
        "%s: %d training and %d test images from %s",
        data.name,
        len(data.train.images),
        len(data.test.images),
        data.source,
    )
    generator = torch.Generator().manual_seed(config.seed)
    model = DCGMM.build(data.train.images.shape[1:], [asdict(layer) for layer in config.arch.layers], gmm_options)
    model.draw_start(generator)
    model.to(device=device, dtype=dtype)
    trainer = Trainer(model, data.train.images.to(device), options, generator)
    if state is None:
        _warn_of_short_budget(trainer, options)
    else:
        trainer.load_state_dict(state)
        if trainer.steps >= trainer.total_steps:
            raise UserError(
                f"{directory} has finished its {options.epochs} epochs; give trainer.epochs=N to train it further"
            )
        keep_metrics(directory, lambda line: line["step"] <= trainer.steps)
        log.info("going on at step %d of %d", trainer.steps, trainer.total_steps)
    (directory / RESULT).unlink(missing_ok=True)
    write_meta(directory, describe_device(device), config.seed)
    point_latest(directory, config.runs_dir)
    saved = {
        "config": asdict(config),
        "input_shape": list(model.input_shape),
        "class_names": list(data.class_names),
    }
    started = time.monotonic()
    _train(trainer, directory, saved, config.trainer.checkpoint_epochs, interruption)
    seconds = time.monotonic() - started
    interruption.check()
    _finish(trainer, data, directory, saved, result, seconds)


def _resumed_config(state: dict[str, Any], overrides: list[str]) -> TrainConfig:
    """The checkpoint's configuration with what may change on the command line.

    Raises:
        UserError: an override would make it another run.
    """
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key not in RESUMABLE:
            raise UserError(f"a resumed run keeps its {key}; what may change is {', '.join(RESUMABLE[2:])}")
    merged = OmegaConf.merge(OmegaConf.structured(TrainConfig), state["config"], OmegaConf.from_dotlist(overrides))
    config = OmegaConf.to_object(merged)
    assert isinstance(config, TrainConfig)
    return config


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


def _train(trainer: Trainer, directory: Path, saved: dict[str, Any], every: int, interruption: Interruption) -> None:
    """Take all steps, with measurements at each window's end and a checkpoint every so many epochs."""
    pending: list[dict[str, Any]] = []

    def save() -> None:
        # Measurements first: what lies behind the checkpoint is cut off when the run is resumed.
        append_metrics(directory, pending)
        pending.clear()
        save_checkpoint(directory, {**saved, **trainer.state_dict()})

    total_epochs = trainer.options.epochs
    with ProgressBar("train", trainer.total_steps, "steps", trainer.steps) as bar, interruption.held():
        while trainer.steps < trainer.total_steps:
            reports = trainer.step()
            if reports:
                layers = {name: asdict(report) for name, report in reports.items()}
                pending.append({"step": trainer.steps, "epoch": round(trainer.epoch, 4), "layers": layers})
                bar.update(trainer.steps, f"epoch {trainer.epoch:.1f} of {total_epochs}  {_brief(reports)}")
            if trainer.steps % (every * trainer.steps_per_epoch) == 0 or trainer.steps == trainer.total_steps:
                save()
            if interruption.pending:
                save()
                interruption.check()


def _brief(reports: dict[str, LayerReport]) -> str:
    return "  ".join(
        f"{name}: {report.log_likelihood:.1f} nats, sigma {report.sigma:.3g}, rate {report.learning_rate:.3g}"
        for name, report in reports.items()
    )


def _finish(
    trainer: Trainer,
    data: ImageData,
    directory: Path,
    saved: dict[str, Any],
    result: dict[str, Any],
    seconds: float,
) -> None:
    """Score training and test images, and write the final checkpoint (with a ready detector), figures and results."""
    model, device = trainer.model, trainer.model.device
    detector = Detector.fit(model, data.train.images.to(device))
    train = detector.positions
    test = log_likelihood_moments(model, data.test.images.to(device)) if len(data.test.images) else {}
    save_checkpoint(
        directory,
        {
            **saved,
            **trainer.state_dict(),
            "statistics": {name: asdict(value) for name, value in train.items()},
        },
    )
    sigma = trainer.sigma()
    result["layers"] = {
        name: {
            "train_log_likelihood": _mean(train[name]),
            "test_log_likelihood": _mean(test[name]) if test else None,
            "sigma": sigma[name],
            "components": gmm.components,
            "weights_in_use": int((gmm.log_weights.exp() > 0.1 / gmm.components).sum()),
        }
        for name, gmm in model.gmms.items()
    }
    result.update(steps=trainer.steps, epochs=trainer.options.epochs, train_seconds=round(seconds, 3))
    result.update(train_images=len(data.train.images), test_images=len(data.test.images), data_source=data.source)
    if metrics := read_metrics(directory):  # none, where training was shorter than one annealing window
        save_figure(training_curves(metrics), directory / "figures" / "training.png")
    _save_centroids(model, directory / "figures" / "centroids_gmm1.png")
    _print_table(result)


def _mean(moments: Moments) -> float:
    return float(moments.mean.mean())


def _save_centroids(model: DCGMM, path: Path) -> None:
    """Centroids of the first GMM layer, where they are image patches: over a Folding layer on the image itself."""
    first, second = model.layers[0], model.layers[1] if len(model.layers) > 1 else None
    gmm = next(iter(model.gmms.values()))
    if isinstance(first, Folding) and second is gmm and model.input_shape.channels in (1, 3):
        patches = patch_images(gmm.loc.detach(), first.window.kernel, model.input_shape)
        save_image(tile(patches), path, enlarge=max(1, 64 // first.window.kernel[0]))


def _print_table(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['steps']:,} steps, {result['epochs']} epochs, {result['train_seconds']:.1f} s")
    for column in ("layer", "train log-likelihood", "test log-likelihood", "sigma", "weights in use"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for name, layer in result["layers"].items():
        test = layer["test_log_likelihood"]
        table.add_row(
            name,
            f"{layer['train_log_likelihood']:.2f}",
            "-" if test is None else f"{test:.2f}",
            f"{layer['sigma']:.3g}",
            f"{layer['weights_in_use']} of {layer['components']}",
        )
    Console().print(table)
