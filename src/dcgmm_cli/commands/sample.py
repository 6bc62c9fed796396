"""`dcgmm sample`: draw images from a trained model, and judge them."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dcgmm_cli.checkpoints import build_model, load_checkpoint
from dcgmm_cli.config import QualityConfig, SampleConfig, SamplingConfig, SharpenConfig, SharpeningConfig
from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.model import DCGMM
from dcgmm_cli.plots import save_image, tile
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.quality import Quality, Reference, judge, reference_of
from dcgmm_cli.runs import find_models, write_whole
from dcgmm_cli.sampling import Samples, SamplingOptions, sample
from dcgmm_cli.sharpening import Sharpened, SharpeningOptions, sharpened_layers, sharpener
from dcgmm_cli.trained import TrainedRun, open_run

# Samples move part of the way only: experiments/sharpening/ shows that further costs diversity, and what each bears.
DEFAULT = SharpeningOptions(10, rate=0.02)
DEFAULTS = {
    "2L-a": SharpeningOptions(10, rate=0.003, layers=("folding2",)),
    "2L-b": SharpeningOptions(10, rate=0.05),
    "3L-a": SharpeningOptions(10, rate=0.005, layers=("folding3",)),
}
PAPER = SharpeningOptions(1000, step_size=0.1)
ENLARGE = 3  # pixels of a picture for one of an image


def run(
    config: SampleConfig,
    overrides: list[str],
    directory: Path,
    result: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Draw images with every configured `top_s` into `directory`, and fill `result`.

    Raises:
        UserError: a value of the configuration cannot be, the run or its data are missing.
    """
    options = sampling_options(config.sampling)
    if not config.sharpen and config.sharpening != SharpeningConfig():
        raise UserError("sharpening.* has no effect without sharpen=true")
    check_quality(config.quality)
    trained = open_run(config, directory)
    sharpening = sharpening_options(config.sharpening, trained.config.arch.name) if config.sharpen else None
    drawn: list[Samples] = []
    seconds: list[float] = []
    for each in options:
        started = time.perf_counter()
        drawn.append(draw(trained.model, config.sampling.count, each, config.seed, sharpening).to("cpu"))
        seconds.append(time.perf_counter() - started)
    result["sample_seconds"] = round(sum(seconds), 4)
    save_samples(drawn, options, directory)
    for each, samples in zip(options, drawn, strict=True):
        save_grid(samples.images, directory / "figures" / f"samples_top{each.top_s}.png")
    if config.quality.count:
        judged = {
            f"top_s={each.top_s}": draw(trained.model, config.quality.count, each, config.seed, sharpening).images
            for each in options
        }
        report_quality(config, trained, options[0], judged, result)


def check_quality(config: QualityConfig) -> None:
    """Check what can be told without a model.

    Raises:
        UserError: a value cannot be, or has no effect.
    """
    if config.count < 0:
        raise UserError(f"quality.count must be at least 0, not {config.count}")
    if config.flat is not None and not config.count:
        raise UserError("quality.flat has no effect with quality.count=0")


def sampling_options(config: SamplingConfig) -> list[SamplingOptions]:
    """Options of the configuration, one for each of its `top_s`.

    Raises:
        UserError: a value cannot be.
    """
    top_s = config.top_s if isinstance(config.top_s, list) else [config.top_s]
    if not top_s or not all(isinstance(value, int) and not isinstance(value, bool) for value in top_s):
        raise UserError(f"sampling.top_s must be a whole number or a list of them, not {config.top_s}")
    scales = config.std_scale if isinstance(config.std_scale, list) else [config.std_scale]
    if not scales or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in scales):
        raise UserError(f"sampling.std_scale must be a number or a list of them, not {config.std_scale}")
    scale = tuple(map(float, scales)) if isinstance(config.std_scale, list) else float(scales[0])
    return [
        SamplingOptions(value, scale, config.temperature, config.start, config.components)
        for value in dict.fromkeys(top_s)
    ]


def sharpening_options(config: SharpeningConfig, arch: str) -> SharpeningOptions:
    """Options of the configuration, the named setting's for this architecture where it leaves them open.

    Raises:
        UserError: a value cannot be.
    """
    settings = {"default": DEFAULTS.get(arch, DEFAULT), "paper": PAPER}
    if config.setting not in settings:
        raise UserError(f"sharpening.setting={config.setting} is unknown; choose {' or '.join(settings)}")
    setting = settings[config.setting]
    # A setting's target belongs to its layers, and its layers to its target.
    own = config.target is None and config.layers is None
    return SharpeningOptions(
        iterations=setting.iterations if config.iterations is None else config.iterations,
        step_size=setting.step_size if config.step_size is None else config.step_size,
        rate=setting.rate,
        target=setting.target if own else config.target,
        penalty=config.penalty,
        layers=setting.layers if own else None if config.layers is None else tuple(config.layers),
    )


def draw(
    model: DCGMM,
    count: int,
    options: SamplingOptions,
    seed: int,
    sharpening: SharpeningOptions | None = None,
    outcomes: dict[str, list[Sharpened]] | None = None,
) -> Samples:
    """Draw `count` images, each call from the start of the seed's noise, so that calls differ by their options only.

    Args:
        model: the model.
        count: number of images.
        options: how they are drawn.
        seed: of the noise.
        sharpening: how the Folding layers are sharpened; None leaves them.
        outcomes: filled with what sharpening did at each Folding layer.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    if sharpening is None:
        return sample(model, count, options, generator)
    steps = sharpening.iterations * len(sharpened_layers(model, sharpening))
    done = 0
    with ProgressBar("sharpen", steps, "steps") as bar:

        def report(name: str, step: int) -> None:
            nonlocal done
            done += 1
            bar.update(done, name)

        refine = sharpener(model, sharpening, {} if outcomes is None else outcomes, report)
        return sample(model, count, options, generator, refine)


def picture(images: Tensor) -> Tensor:  # (N, H, W, C) -> (N, H, W, 1 or 3)
    """Images as they can be drawn: clamped to [0, 1], and in the mean of their channels unless these are 1 or 3."""
    clamped = images.clamp(0, 1)
    return clamped if clamped.shape[-1] in (1, 3) else clamped.mean(-1, keepdim=True)


def save_grid(images: Tensor, path: Path) -> None:  # (N, H, W, C)
    """Write images side by side as one PNG."""
    save_image(tile(picture(images)), path, ENLARGE)


def save_arrays(arrays: Mapping[str, Tensor], path: Path) -> None:
    """Write named arrays as a compressed npz file, whole or not at all."""
    content: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items()}
    write_whole(path, lambda file: np.savez_compressed(file, **content))


def save_samples(drawn: list[Samples], options: list[SamplingOptions], directory: Path) -> None:
    """Write `samples.npz`: `images` in [0, 1], the `top_s` of each, and the components of every layer."""
    arrays = {
        "images": torch.cat([samples.images for samples in drawn]).clamp(0, 1),
        "top_s": torch.cat([torch.full((len(s.images),), o.top_s) for s, o in zip(drawn, options, strict=True)]),
    }
    for name in drawn[0].components:
        arrays[f"components_{name}"] = torch.cat([samples.components[name] for samples in drawn]).short()
    save_arrays(arrays, directory / "samples.npz")


def report_quality(
    config: SampleConfig | SharpenConfig,
    trained: TrainedRun,
    options: SamplingOptions,
    judged: Mapping[str, Tensor],
    result: dict[str, Any],
) -> None:
    """Judge sets of images, equally many test images and a flat GMM's samples; put the figures in `result`, print them.

    The first set's figures stand at the top of `result`, all of them under `quality`. The test images are drawn by the
    seed (a file's order need not be random), all of them where there are fewer.

    Raises:
        UserError: the data or the flat GMM's run cannot be used.
    """
    data, device = trained.data(), trained.model.device
    count, generator = config.quality.count, torch.Generator().manual_seed(config.seed)
    reference = reference_of(data.train.images.to(device), config.quality.bins, count, generator)
    figures = {name: judge(images, reference) for name, images in judged.items()}
    tests = data.test.images[torch.randperm(len(data.test.images), generator=generator)[:count]]
    if len(tests) > 1:
        figures["test images"] = judge(tests.to(device), reference)
    if config.quality.flat is not None:
        figures["flat GMM"] = _judge_flat(config, config.quality.flat, trained.model, options, reference)
    first = asdict(next(iter(figures.values())))
    result.update({key: value for key, value in first.items() if key != "count"})
    result["quality"] = {name: asdict(value) for name, value in figures.items()}
    _print_table(figures)


def _judge_flat(
    config: SampleConfig | SharpenConfig, name: str, model: DCGMM, options: SamplingOptions, reference: Reference
) -> Quality:
    run, *others = find_models(name, config.runs_dir)
    if others:
        raise UserError(f"quality.flat={name} has {1 + len(others)} models: give the directory of one, such as {run}")
    flat = build_model(load_checkpoint(run)).to(model.device).eval()
    if len(flat.gmms) != 1 or flat.input_shape != model.input_shape:
        raise UserError(
            f"quality.flat={name} must be a run of one GMM layer on images of {model.input_shape}; "
            f"it has {len(flat.gmms)}, on images of {flat.input_shape}"
        )
    scale = options.std_scale if isinstance(options.std_scale, float) else options.std_scale[0]
    return judge(draw(flat, config.quality.count, SamplingOptions(1, scale), config.seed).images, reference)


def _print_table(figures: Mapping[str, Quality]) -> None:
    first = next(iter(figures.values()))
    fewer = [f"{name}: only {quality.count}" for name, quality in figures.items() if quality.count < first.count]
    table = Table(title=f"{first.count} images; NDB of {first.bins} bins", caption=", ".join(fewer) or None)
    columns = ("images", "diversity", "near-duplicates", "nearest training image", "NDB", "JS")
    for column in columns:
        table.add_column(column, justify="left" if column == "images" else "right")
    for name, quality in figures.items():
        table.add_row(
            name,
            f"{quality.diversity:.3f}",
            f"{quality.near_duplicates:.1%}",
            f"{quality.train_distance:.3f}",
            str(quality.ndb),
            f"{quality.js:.4f}",
        )
    Console().print(table)
