"""`dcgmm inpaint`: complete images of which a part is missing."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.generation.completion import Completions, inpaint
from dcgmm.generation.options import CompletionOptions
from dcgmm.generation.peers import peers
from dcgmm.generation.sharpening import sharpened_layers
from dcgmm.images import to_float
from dcgmm_cli.draws import check_sharpening, save_arrays
from dcgmm_cli.figures.base import save_sheet
from dcgmm_cli.figures.inpaint import completion_rows
from dcgmm_cli.job import Job
from dcgmm_cli.masks import NAN, check_mask, read_observed
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.quality import trained_judge
from dcgmm_cli.schema import InpaintConfig
from dcgmm_cli.terminal import print_table
from dcgmm_cli.trained import OpenedRun, open_run

log = logging.getLogger(__name__)

IMAGES = 1000  # test images that are completed
MOST_LIKELY = CompletionOptions(count=1, top_s=1, std_scale=0, factor_scale=0)


def run(config: InpaintConfig, job: Job) -> None:
    """Complete test images or those of `input`, and measure how far the completions are off.

    Raises:
        InputError: a value of the configuration cannot be, the run, its data, the input or the mask are missing.
    """
    _check(config)
    opened = open_run(config, job)
    images, labels = _images(config, opened, job)
    observed = read_observed(
        config.mask, images, share=config.share, seed=config.seed, resize=opened.run.preparation.resize
    )
    if bool(observed.all()):
        raise InputError(f"mask={config.mask}: nothing is missing; leave something to complete")
    if bool((~observed).all()):
        raise InputError(f"mask={config.mask}: everything is missing; dcgmm sample draws images from nothing")
    started = time.perf_counter()
    found = _completed(config, opened, images, observed)
    job.result["inpaint_seconds"] = round(time.perf_counter() - started, 4)
    likely = inpaint(opened.model, images, observed, seed=config.seed, options=MOST_LIKELY).draws[0].cpu()
    missing = ~observed.unsqueeze(-1).expand_as(images)
    job.result.update(images=len(images), missing_share=float(missing.float().mean()))
    _save(config, images, observed, found, likely, job.directory)
    if bool(images[missing].isnan().any()):
        return  # what is missing is not known
    sets = {"mean": found.mean[None], "most_likely": likely[None], "draws": found.draws}
    sets = {name: some for name, some in sets.items() if len(some)}
    errors = {name: sum(_error(each, images, missing) for each in some) / len(some) for name, some in sets.items()}
    job.result["mse"] = errors
    right = _right(opened, images, labels, sets, job) if config.judge and labels is not None else {}
    others = _others(opened, config.seed, images, ~missing) if config.peers else {}
    if config.peers:
        job.result["peers"] = others
    _print_table(errors, others, right, len(images), job.result["missing_share"])


def _check(config: InpaintConfig) -> None:
    check_mask(config.mask, config.share, config.input)
    if config.input is not None and config.images is not None:
        given = f"images={config.images} has no effect with input={config.input}"
        raise InputError(f"{given}: it says how many test images are completed")
    check_sharpening(config.sharpen, config.sharpening)


def _images(config: InpaintConfig, opened: OpenedRun, job: Job) -> tuple[Tensor, Tensor | None]:  # (N, H, W, C), (N,)
    """Images in [0, 1], NaN where nothing is known, and labels of those that have some."""
    if config.input is None:
        test = opened.data().test
        generator = torch.Generator().manual_seed(config.seed)
        chosen = test[torch.randperm(len(test), generator=generator)[: config.images or IMAGES]]
        return to_float(chosen.images, opened.model.dtype).cpu(), chosen.labels
    batch = opened.run.prepare(config.input, missing=config.mask == NAN)
    job.result["failed"] = len(batch.failures)
    return batch.images.to(opened.model.dtype), None


def _completed(config: InpaintConfig, opened: OpenedRun, images: Tensor, observed: Tensor) -> Completions:
    """Completions on the CPU, with a progress bar where they are sharpened."""
    model, options = opened.model, config.completion
    if not config.sharpen:
        found = inpaint(model, images, observed, seed=config.seed, options=options)
        return Completions(found.mean.cpu(), found.draws.cpu())
    steps = config.sharpening.steps(model.architecture.sharpening)
    total, done = options.count * steps.iterations * len(sharpened_layers(model, steps)), 0
    with ProgressBar("sharpen", total, "steps") as bar:

        def report(name: str, step: int) -> None:
            nonlocal done
            done += 1
            bar.update(done, name)

        found = inpaint(
            model,
            images,
            observed,
            seed=config.seed,
            options=options,
            sharpening=config.sharpening,
            report=report,
        )
    return Completions(found.mean.cpu(), found.draws.cpu())


def _right(
    opened: OpenedRun,
    images: Tensor,  # (N, H, W, C)
    labels: Tensor,  # (N,)
    sets: Mapping[str, Tensor],  # (M, N, H, W, C) each
    job: Job,
) -> dict[str, float]:
    """Share of completions, and of the images themselves, that a classifier of real images gives their label."""
    try:
        judge = trained_judge(opened, opened.data())
    except InputError as error:
        log.info("completions are not judged: %s", error)
        return {}
    right = {"images": judge.accuracy(images, labels)}
    right |= {name: judge.accuracy(each.flatten(0, 1), labels.repeat(len(each))) for name, each in sets.items()}
    job.result["right"], job.result["judge"] = right, {"digest": judge.digest}
    return right


def _error(completed: Tensor, images: Tensor, missing: Tensor) -> float:
    """Mean squared error on what was missing."""
    return float((completed - images)[missing].double().square().mean())


def _others(opened: OpenedRun, seed: int, images: Tensor, seen: Tensor) -> dict[str, float]:
    """Mean squared error of other methods on the same pixels."""
    training = to_float(opened.data().train.images.cpu(), torch.float32).flatten(1)
    x, observed = images.float().flatten(1), seen.flatten(1)
    methods = peers(training, seed)
    errors = {}
    with ProgressBar("other methods", len(methods), "methods") as bar:
        for done, (name, complete) in enumerate(methods.items()):
            bar.update(done, name)
            errors[name] = _error(complete(x, observed).view_as(images), images, ~seen)
        bar.update(len(methods))
    return errors


def _save(
    config: InpaintConfig, images: Tensor, observed: Tensor, found: Completions, likely: Tensor, directory: Path
) -> None:
    """Write the figure, and `completions.npz`: images as given, `observed`, completions and the draws' `variance`."""
    variance = found.draws.var(0, correction=0) if len(found.draws) else torch.zeros_like(found.mean)
    rows = slice(config.shown)
    completed = torch.stack([found.mean[rows], likely[rows], *found.draws[:, rows]])
    shown = completion_rows(images[rows], observed[rows], completed, variance[rows])
    save_sheet(shown, directory / "figures" / "completions.png")
    arrays = {"images": images, "observed": observed, "mean": found.mean, "most_likely": likely}
    save_arrays(arrays | {"draws": found.draws, "variance": variance}, directory / "completions.npz")


def _print_table(
    errors: Mapping[str, float], others: Mapping[str, float], right: Mapping[str, float], count: int, share: float
) -> None:
    caption = f"a classifier gives {right['images']:.1%} of the whole images their label" if right else None
    table = Table(title=f"{count} images, {share:.0%} of their pixels missing", caption=caption)
    table.add_column("completion")
    for column in ("mean squared error", *(["label right"] if right else [])):
        table.add_column(column, justify="right")
    for name, value in errors.items():
        judged = [f"{right[name]:.1%}"] if right else []
        table.add_row(f"model: {name.replace('_', ' ')}", f"{value:.4f}", *judged)
    for name, value in others.items():
        table.add_row(name, f"{value:.4f}")
    print_table(table)
