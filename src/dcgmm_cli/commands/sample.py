"""`dcgmm sample`: draw images from a trained model, and judge them."""

import time
from pathlib import Path

import torch

from dcgmm.errors import InputError
from dcgmm.generation.options import SamplingOptions, SharpeningOptions
from dcgmm.generation.sampling import Samples
from dcgmm_cli.draws import draw, sampling_options, save_arrays
from dcgmm_cli.figures.base import save_grid
from dcgmm_cli.job import Job
from dcgmm_cli.quality import check_quality, report_quality
from dcgmm_cli.schema import SampleConfig
from dcgmm_cli.trained import open_run


def run(config: SampleConfig, job: Job) -> None:
    """Draw images with every configured `top_s`, save and judge them.

    Raises:
        InputError: a value of the configuration cannot be, the run or its data are missing.
    """
    if not config.sharpen and config.sharpening != SharpeningOptions():
        raise InputError("sharpening.* has no effect without sharpen=true")
    check_quality(config.quality)
    opened, options = open_run(config, job), sampling_options(config.sampling)
    sharpening = config.sharpening if config.sharpen else None

    def drawn(count: int, each: SamplingOptions) -> Samples:
        # Each from the start of the seed's noise, so that they differ by their options only.
        return draw(opened.model, count, config.seed, each, sharpening)

    started = time.perf_counter()
    shown = [drawn(config.sampling.count, each).to("cpu") for each in options]
    job.result["sample_seconds"] = round(time.perf_counter() - started, 4)
    _save(shown, options, job.directory)
    if config.quality.count:
        judged = {f"top_s={each.top_s}": drawn(config.quality.count, each).images for each in options}
        report_quality(config, opened, options[0], judged, job.result)


def _save(shown: list[Samples], options: list[SamplingOptions], directory: Path) -> None:
    """Write `samples.npz`: `images` in [0, 1], the `top_s` of each, components of every layer; and a grid a `top_s`."""
    arrays = {
        "images": torch.cat([samples.images for samples in shown]).clamp(0, 1),
        "top_s": torch.cat([torch.full((len(s.images),), o.top_s) for s, o in zip(shown, options, strict=True)]),
    }
    for name in shown[0].components:
        arrays[f"components_{name}"] = torch.cat([samples.components[name] for samples in shown]).short()
    save_arrays(arrays, directory / "samples.npz")
    for samples, each in zip(shown, options, strict=True):
        save_grid(samples.images, directory / "figures" / f"samples_top{each.top_s}.png")
