"""`dcgmm sharpen`: the same draws unsharpened and sharpened, or given images sharpened."""

import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dcgmm_cli.commands.sample import (
    check_quality,
    draw,
    picture,
    report_quality,
    sampling_options,
    save_arrays,
    save_grid,
    sharpening_options,
)
from dcgmm_cli.config import SharpenConfig
from dcgmm_cli.datasets.images import load_images
from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.model import DCGMM
from dcgmm_cli.plots import save_figure, save_image, sharpening_curves, tile
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.sampling import SamplingOptions, layer_names
from dcgmm_cli.sharpening import Sharpened, SharpeningOptions, sharpen, sharpened_layers
from dcgmm_cli.statistics import log_likelihood_moments
from dcgmm_cli.trained import TrainedRun, open_run

ENLARGE, GAP = 3, 4  # pixels of a picture for one of an image; image pixels between grids


def run(
    config: SharpenConfig,
    overrides: list[str],
    directory: Path,
    result: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Sharpen draws or the images of `input` into `directory`, and fill `result`.

    Raises:
        UserError: a value of the configuration cannot be, the run, its data or the input are missing.
    """
    each_sampling = sampling_options(config.sampling)
    if len(each_sampling) > 1:
        raise UserError(f"dcgmm sharpen takes one sampling.top_s, not {config.sampling.top_s}")
    check_quality(config.quality)
    trained = open_run(config, directory)
    options = sharpening_options(config.sharpening, trained.config.arch.name)
    model = trained.model
    if not sharpened_layers(model, options):
        every = [name for name in layer_names(model) if name.startswith("folding")]
        raise UserError(f"no Folding layer to sharpen: the model has {', '.join(every) or 'none'}")
    outcomes: dict[str, list[Sharpened]] = {}
    started = time.perf_counter()
    if config.input is None:
        before = draw(model, config.sampling.count, each_sampling[0], config.seed).images
        started = time.perf_counter()
        after = draw(model, config.sampling.count, each_sampling[0], config.seed, options, outcomes).images
    else:
        before = _given_images(config.input, model)
        after = _sharpen_given(model, before, options, outcomes)
    result["sharpen_seconds"] = round(time.perf_counter() - started, 4)
    steps = {name: each[0] for name, each in outcomes.items()}
    if not steps:
        raise UserError(f"sharpening.layers={config.sharpening.layers} lie above the start of sampling")
    _save(before, after, steps, directory)
    _report_likelihood(model, before, after, steps, result)
    if config.input is None and config.quality.count:
        _report_quality(config, trained, each_sampling[0], options, result)


def _given_images(path: str, model: DCGMM) -> Tensor:
    batch = load_images(path, model.input_shape)
    for name, reason in batch.failures:
        raise UserError(f"input={path}: {name}: {reason}; mend or remove it")
    return batch.images.to(device=model.device, dtype=model.dtype)


def _sharpen_given(
    model: DCGMM, images: Tensor, options: SharpeningOptions, outcomes: dict[str, list[Sharpened]]
) -> Tensor:
    """Images sharpened at the Folding layer on the image itself, the only one whose output they are.

    Raises:
        UserError: the first layer is no Folding layer, or the options leave it out.
    """
    first = layer_names(model)[0]
    if first not in sharpened_layers(model, options):
        raise UserError(
            "given images are sharpened at folding1, the Folding layer on the image: sharpening.layers needs it"
        )
    with ProgressBar("sharpen", options.iterations, "steps") as bar:
        outcome = sharpen(model, first, images, options, lambda name, done: bar.update(done, name))
    outcomes[first] = [outcome]
    return outcome.signal


def _save(before: Tensor, after: Tensor, steps: dict[str, Sharpened], directory: Path) -> None:
    arrays = {"images": after.clamp(0, 1), "before": before.clamp(0, 1)}
    save_arrays(arrays, directory / "samples.npz")
    figures = directory / "figures"
    save_grid(before, figures / "before.png")
    save_grid(after, figures / "after.png")
    save_image(side_by_side(before, after), figures / "sharpening.png", ENLARGE)
    save_figure(sharpening_curves(steps), figures / "log_likelihood.png")


def side_by_side(before: Tensor, after: Tensor) -> Tensor:  # (N, H, W, C), (N, H, W, C) -> (H', W', C')
    """Grids of the images before and after, and of the difference: grey is none, brighter is more (Figure 5)."""
    first, second = picture(before), picture(after)
    grids = [tile(images) for images in (first, second, (second - first) / 2 + 0.5)]
    return tile(torch.stack(grids), 3, GAP)


def _report_likelihood(
    model: DCGMM, before: Tensor, after: Tensor, steps: dict[str, Sharpened], result: dict[str, Any]
) -> None:
    """Log-likelihood of the images in every GMM layer, and of what each Folding layer's ascent started and ended with.

    `log_likelihood` holds that of the images in the GMM layer that the lowest ascent was after.
    """
    pairs = {"before": before, "after": after}
    scored = {when: log_likelihood_moments(model, images) for when, images in pairs.items()}
    layers = {name: {when: float(scored[when][name].mean.mean()) for when in pairs} for name in scored["before"]}
    lowest = next(name for name in layer_names(model) if name in steps)
    result["log_likelihood"] = layers[steps[lowest].target]
    result["layers"] = layers
    result["sharpening"] = {
        name: {
            "target": step.target,
            "step_size": step.step_size,
            "iterations": step.iterations[-1],
            "before": step.log_likelihood[0],
            "after": step.log_likelihood[-1],
        }
        for name, step in steps.items()
    }
    result["curves"] = {
        name: {"iterations": step.iterations, "log_likelihood": step.log_likelihood} for name, step in steps.items()
    }
    result["mean_change"] = float((after - before).square().mean().sqrt())
    table = Table(title=f"log-likelihood of {len(before)} images (nats a position)")
    for column in ("layer", "before", "after"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for name, values in layers.items():
        table.add_row(name, f"{values['before']:.2f}", f"{values['after']:.2f}")
    for name, step in steps.items():
        table.add_row(
            f"{name}'s output in {step.target}", f"{step.log_likelihood[0]:.2f}", f"{step.log_likelihood[-1]:.2f}"
        )
    Console().print(table)


def _report_quality(
    config: SharpenConfig,
    trained: TrainedRun,
    sampling: SamplingOptions,
    options: SharpeningOptions,
    result: dict[str, Any],
) -> None:
    judged = {
        "sharpened": draw(trained.model, config.quality.count, sampling, config.seed, options).images,
        "unsharpened": draw(trained.model, config.quality.count, sampling, config.seed).images,
    }
    report_quality(config, trained, sampling, judged, result)
