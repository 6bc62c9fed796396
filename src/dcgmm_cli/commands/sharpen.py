"""`dcgmm sharpen`: the same draws unsharpened and sharpened, or given images sharpened."""

import time
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.generation.options import SharpeningOptions
from dcgmm.generation.sampling import require_room
from dcgmm.generation.sharpening import Sharpened, sharpen, sharpened_layers
from dcgmm.model import DCGMM
from dcgmm.model.inspection import mean_log_likelihoods
from dcgmm_cli.draws import draw, sampling_options, save_arrays
from dcgmm_cli.figures.base import save_figure, save_grid, save_sheet
from dcgmm_cli.figures.sharpen import sharpening_curves, side_by_side
from dcgmm_cli.job import Job
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.quality import check_quality, flat_of, report_quality
from dcgmm_cli.schema import SharpenConfig
from dcgmm_cli.terminal import print_table
from dcgmm_cli.trained import open_run


def run(config: SharpenConfig, job: Job) -> None:
    """Sharpen draws or the images of `input`, and judge what became of them.

    Raises:
        InputError: a value of the configuration cannot be, the run, its data or the input are missing.
    """
    sampling, *others = sampling_options(config.sampling)
    if others:
        raise InputError(f"dcgmm sharpen takes one sampling.top_s, not {config.sampling.top_s}")
    check_quality(config.quality)
    opened, options = open_run(config, job), config.sharpening
    model, flat = opened.model, flat_of(config, opened)
    require_room(model, max(config.sampling.count, config.quality.count))
    if not sharpened_layers(model, options.steps(model.architecture.sharpening)):
        raise InputError(f"no Folding layer to sharpen: the model has {', '.join(model.foldings) or 'none'}")
    outcomes: dict[str, list[Sharpened]] = {}
    if config.input is None:
        before = draw(model, config.sampling.count, config.seed, sampling).images
    else:
        batch = opened.run.prepare(config.input)
        job.result["failed"] = len(batch.failures)
        before = batch.images.to(device=model.device, dtype=model.dtype)
    started = time.perf_counter()
    if config.input is None:
        after = draw(model, config.sampling.count, config.seed, sampling, options, outcomes).images
    else:
        outcomes["folding1"] = [_sharpen_given(model, before, options)]
        after = outcomes["folding1"][0].signal
    job.result["sharpen_seconds"] = round(time.perf_counter() - started, 4)
    steps = {name: each[0] for name, each in outcomes.items()}
    if not steps:
        above = f"sharpening.layers={options.layers} lie above the start of sampling, {sampling.start}"
        raise InputError(f"{above}: give others, or another sampling.start")
    _save(before, after, steps, job.directory)
    _report_likelihood(model, before, after, steps, job.result)
    if config.input is None and config.quality.count:
        judged = {
            name: draw(model, config.quality.count, config.seed, sampling, chosen).images
            for name, chosen in (("sharpened", options), ("unsharpened", None))
        }
        report_quality(config, opened, flat, sampling, judged, job.result)


def _sharpen_given(model: DCGMM, images: Tensor, options: SharpeningOptions) -> Sharpened:
    total = options.steps(model.architecture.sharpening).iterations
    with ProgressBar("sharpen", total, "steps") as bar:
        return sharpen(model, images, options=options, report=lambda name, done: bar.update(done, name))


def _save(before: Tensor, after: Tensor, steps: dict[str, Sharpened], directory: Path) -> None:
    arrays = {"images": after.clamp(0, 1), "before": before.clamp(0, 1)}
    save_arrays(arrays, directory / "samples.npz")
    figures = directory / "figures"
    save_grid(before, figures / "before.png")
    save_grid(after, figures / "after.png")
    save_sheet(side_by_side(before, after), figures / "sharpening.png")
    save_figure(sharpening_curves(steps), figures / "log_likelihood.png")


def _report_likelihood(
    model: DCGMM, before: Tensor, after: Tensor, steps: dict[str, Sharpened], result: dict[str, Any]
) -> None:
    """Log-likelihood of the images in every GMM layer, and of what each Folding layer's ascent started and ended with.

    `log_likelihood` holds that of the images in the GMM layer that the lowest ascent was after.
    """
    first, second = mean_log_likelihoods(model, before), mean_log_likelihoods(model, after)
    layers = {name: {"before": first[name], "after": second[name]} for name in model.gmms}
    lowest = next(name for name in model.foldings if name in steps)
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
    print_table(table)
