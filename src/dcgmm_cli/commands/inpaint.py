"""`dcgmm inpaint`: complete images of which a part is missing."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dcgmm.datasets.images import load_images
from dcgmm.datasets.pixels import SUFFIXES, ImageError, read_pixels
from dcgmm.errors import InputError, OptionError
from dcgmm.generation.completion import Completions, inpaint
from dcgmm.generation.masks import observed_part
from dcgmm.generation.options import AREAS, CompletionOptions
from dcgmm.generation.peers import peers
from dcgmm.images import to_float
from dcgmm_cli.draws import save_arrays
from dcgmm_cli.figures.base import ENLARGE, save_image
from dcgmm_cli.figures.inpaint import completion_rows
from dcgmm_cli.job import Job
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.schema import InpaintConfig
from dcgmm_cli.trained import OpenedRun, open_run

NAN = "nan"
IMAGES = 1000  # test images that are completed
MOST_LIKELY = CompletionOptions(count=1, top_s=1, std_scale=0, factor_scale=0)


def run(config: InpaintConfig, job: Job) -> None:
    """Complete test images or those of `input`, and measure how far the completions are off.

    Raises:
        InputError: a value of the configuration cannot be, the run, its data, the input or the mask are missing.
    """
    if config.mask not in AREAS and config.share is not None:
        raise InputError(f"share has no effect with mask={config.mask}: it goes with {', '.join(AREAS)}")
    if config.mask == NAN and config.input is None:
        raise InputError("mask=nan takes what is NaN in the array of input=: give one")
    if config.input is not None and config.images is not None:
        raise InputError("images has no effect with input=: it says how many test images are completed")
    opened = open_run(config, job)
    images = _images(config, opened)  # (N, H, W, C), NaN where nothing is known
    observed = _observed(config, images)
    started = time.perf_counter()
    found = inpaint(opened.model, images, observed, seed=config.seed, options=config.completion)
    job.result["inpaint_seconds"] = round(time.perf_counter() - started, 4)
    likely = inpaint(opened.model, images, observed, seed=config.seed, options=MOST_LIKELY).draws[0]
    found, likely = Completions(found.mean.cpu(), found.draws.cpu()), likely.cpu()
    variance = found.draws.var(0, correction=0) if len(found.draws) else torch.zeros_like(found.mean)
    missing = ~observed.unsqueeze(-1).expand_as(images)
    job.result.update(images=len(images), missing_share=float(missing.float().mean()))
    _save(images, observed, found, likely, variance, job.directory)
    rows = slice(config.shown)
    completed = torch.stack([found.mean[rows], likely[rows], *found.draws[:, rows]])
    shown = completion_rows(images[rows], observed[rows], completed, variance[rows])
    save_image(shown, job.directory / "figures" / "completions.png", ENLARGE)
    if bool(images[missing].isnan().any()):
        return  # what is missing is not known
    errors = {"mean": _error(found.mean, images, missing), "most_likely": _error(likely, images, missing)}
    if len(found.draws):
        errors["draws"] = sum(_error(each, images, missing) for each in found.draws) / len(found.draws)
    job.result["mse"] = errors
    others = _others(opened, config.seed, images, ~missing) if config.peers else {}
    if config.peers:
        job.result["peers"] = others
    _print_table(errors, others, len(images), job.result["missing_share"])


def _images(config: InpaintConfig, opened: OpenedRun) -> Tensor:  # (N, H, W, C) floats in [0, 1], or NaN
    if config.input is None:
        images = opened.data().test.images
        generator = torch.Generator().manual_seed(config.seed)
        chosen = torch.randperm(len(images), generator=generator)[: config.images or IMAGES]
        return to_float(images[chosen], opened.model.dtype).cpu()
    batch = load_images(config.input, opened.model.input_shape, missing=config.mask == NAN)
    for name, reason in batch.failures:
        raise InputError(f"input={config.input}: {name}: {reason}; mend or remove it")
    return batch.images.to(opened.model.dtype)


def _observed(config: InpaintConfig, images: Tensor) -> Tensor:  # (N, H, W) bool
    """What is seen of each image.

    Raises:
        InputError: the mask cannot be read, has another shape, or leaves nothing to complete or nothing to see.
    """
    count, height, width, _ = images.shape
    if config.mask in AREAS:
        return observed_part(config.mask, height, width, count, share=config.share, seed=config.seed)
    observed = ~images.isnan().any(-1) if config.mask == NAN else ~_mask_file(config.mask)
    if observed.dim() not in (2, 3) or tuple(observed.shape[-2:]) != (height, width):
        found = "x".join(map(str, observed.shape))
        raise OptionError("mask", f"a mask of {height}x{width} pixels, or one for each image", f"one of {found}")
    if observed.dim() == 3 and len(observed) not in (1, count):
        raise OptionError("mask", f"one mask, or one for each of {count} images", f"{len(observed)} masks")
    if bool(observed.all()):
        raise InputError(f"mask={config.mask}: nothing is missing")
    if bool((~observed).all()):
        raise InputError(f"mask={config.mask}: everything is missing; dcgmm sample draws images from nothing")
    return observed.expand(count, height, width)


def _mask_file(path: str) -> Tensor:  # (H, W) or (N, H, W) bool, True in what is missing
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"mask={path} is no file: give one, or one of {', '.join((*AREAS, NAN))}")
    try:
        if file.suffix == ".npy":
            array = np.load(file, allow_pickle=False)
        elif file.suffix.lower() in SUFFIXES:
            array = read_pixels(file, color=False)[..., 0]
        else:
            raise InputError(f"mask={path} is neither a .npy file nor a picture ({', '.join(SUFFIXES)})")
    except (ValueError, EOFError, OSError, ImageError) as error:
        raise InputError(f"mask={path} cannot be read: {error}") from None
    if array.dtype.kind not in "bui" and not (array.dtype.kind == "f" and np.isfinite(array).all()):
        raise InputError(f"mask={path} holds values that are no truth values or finite numbers")
    return torch.from_numpy(array != 0)


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
    images: Tensor, observed: Tensor, found: Completions, likely: Tensor, variance: Tensor, directory: Path
) -> None:
    """Write `completions.npz`: images as given, `observed`, `mean`, `most_likely`, `draws` and their `variance`."""
    arrays = {"images": images, "observed": observed, "mean": found.mean, "most_likely": likely}
    save_arrays(arrays | {"draws": found.draws, "variance": variance}, directory / "completions.npz")


def _print_table(errors: Mapping[str, float], others: Mapping[str, float], count: int, share: float) -> None:
    table = Table(title=f"{count} images, {share:.0%} of their pixels missing")
    table.add_column("completion")
    table.add_column("mean squared error", justify="right")
    for name, value in errors.items():
        table.add_row(f"model: {name.replace('_', ' ')}", f"{value:.4f}")
    for name, value in others.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
