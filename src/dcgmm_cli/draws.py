"""What the commands that draw images share: their options, draws with a progress bar, arrays in files."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.files import write_whole
from dcgmm.generation.options import SamplingOptions, SharpeningOptions
from dcgmm.generation.sampling import Samples, sample
from dcgmm.generation.sharpening import Sharpened, sharpened_layers
from dcgmm.model import DCGMM
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.schema import SamplingConfig


def sampling_options(config: SamplingConfig) -> list[SamplingOptions]:
    """Options of the configuration, one for each of its `top_s`."""
    given = {each.name: getattr(config, each.name) for each in fields(SamplingOptions)}
    top_s = config.top_s if isinstance(config.top_s, list) else [config.top_s]
    return [SamplingOptions(**{**given, "top_s": value}) for value in dict.fromkeys(top_s)]


def check_sharpening(sharpen: bool, sharpening: SharpeningOptions) -> None:
    """Check that the options of sharpening have an effect.

    Raises:
        InputError: one is given, and nothing is sharpened.
    """
    given = {each.name: getattr(sharpening, each.name) for each in fields(SharpeningOptions)}
    for name, value in given.items():
        if not sharpen and value != getattr(SharpeningOptions(), name):
            raise InputError(f"sharpening.{name}={value} has no effect without sharpen=true")


def draw(
    model: DCGMM,
    count: int,
    seed: int,
    options: SamplingOptions,
    sharpening: SharpeningOptions | None = None,
    outcomes: dict[str, list[Sharpened]] | None = None,
    weights: Tensor | None = None,
) -> Samples:
    """Draw images as `dcgmm.sample` does, with a progress bar where they are sharpened."""
    if sharpening is None:
        return sample(model, count, seed=seed, options=options, weights=weights)
    steps = sharpening.steps(model.architecture.sharpening)
    total = steps.iterations * len(sharpened_layers(model, steps))
    done = 0
    with ProgressBar("sharpen", total, "steps") as bar:

        def report(name: str, step: int) -> None:
            nonlocal done
            done += 1
            bar.update(done, name)

        given: dict[str, Any] = {"seed": seed, "options": options, "weights": weights}
        return sample(model, count, **given, sharpening=sharpening, outcomes=outcomes, report=report)


def save_arrays(arrays: Mapping[str, Tensor], path: Path) -> None:
    """Write named arrays as a compressed npz file, whole or not at all."""
    content: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items()}
    write_whole(path, lambda file: np.savez_compressed(file, **content))
