"""`dcgmm sample`: draw images from a trained model, and judge them."""

import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from dcgmm.generation.options import SamplingOptions
from dcgmm.generation.sampling import Samples, require_room
from dcgmm.generation.variants import nearness
from dcgmm_cli.draws import check_sharpening, draw, sampling_options, save_arrays
from dcgmm_cli.figures.base import save_grid, save_sheet
from dcgmm_cli.figures.sample import variant_rows
from dcgmm_cli.job import Job
from dcgmm_cli.labels import ClassDraws, check_classes
from dcgmm_cli.quality import check_quality, flat_of, report_quality
from dcgmm_cli.schema import SampleConfig
from dcgmm_cli.trained import OpenedRun, open_run
from dcgmm_cli.variants import Signals, check_signals, signals_of


def run(config: SampleConfig, job: Job) -> None:
    """Draw images with every configured `top_s`, save and judge them.

    Raises:
        InputError: a value of the configuration cannot be, the run or its data are missing.
    """
    check_sharpening(config.sharpen, config.sharpening)
    check_signals(config)
    check_classes(config)
    check_quality(config.quality)
    opened, options = open_run(config, job), sampling_options(config.sampling)
    flat = flat_of(config, opened)
    require_room(opened.model, max(config.sampling.count, config.quality.count))
    sharpening = config.sharpening if config.sharpen else None
    signals = signals_of(config, opened)
    classes = None if config.classes is None else ClassDraws(config.classes, opened, config.seed)
    source = signals or classes

    def drawn(count: int, each: SamplingOptions) -> Samples:
        # Each from the start of the seed's noise, so that they differ by their options only.
        weights = None if source is None else source.weights(count)
        return draw(opened.model, count, config.seed, each, sharpening, weights=weights)

    started = time.perf_counter()
    shown = [drawn(config.sampling.count, each).to("cpu") for each in options]
    job.result["sample_seconds"] = round(time.perf_counter() - started, 4)
    labels = None if classes is None else classes.labels(config.sampling.count)
    _save(shown, options, signals, labels, job.directory)
    if signals is not None and signals.originals is not None:
        whole = replace(options[0], start=None)  # of the model, not of a lower layer's overall weights
        unrelated = draw(opened.model, config.sampling.count, config.seed, whole, sharpening).images
        _report_nearness(signals, signals.originals, shown[0].images, unrelated.cpu(), opened, job)
    if config.quality.count:
        judged = {f"top_s={each.top_s}": drawn(config.quality.count, each).images for each in options}
        report_quality(config, opened, flat, options[0], judged, job.result)


def _report_nearness(
    signals: Signals, originals: Tensor, variants: Tensor, unrelated: Tensor, opened: OpenedRun, job: Job
) -> None:
    """How far variants lie from their originals, on average."""
    own = originals[signals.index(len(variants))]
    near = asdict(nearness(own, variants, unrelated, opened.data().train.images.cpu()))
    job.result["distance"] = near
    parts = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in near.items())
    print(f"mean distance from {len(originals)} originals: {', '.join(parts)}")


def _save(
    shown: list[Samples],
    options: list[SamplingOptions],
    signals: Signals | None,
    labels: Tensor | None,  # (N,)
    directory: Path,
) -> None:
    """Write `samples.npz`: `images` in [0, 1], the `top_s` of each, components of every layer; and a grid a `top_s`.

    Of images that were drawn from control signals: the `control` signals, the `signal` of each image, and `originals`.
    Of images of some classes: the `label` of each.
    """
    arrays = {
        "images": torch.cat([samples.images for samples in shown]).clamp(0, 1),
        "top_s": torch.cat([torch.full((len(s.images),), o.top_s) for s, o in zip(shown, options, strict=True)]),
    }
    if labels is not None:
        arrays["label"] = labels.repeat(len(shown))
    for name in shown[0].components:
        arrays[f"components_{name}"] = torch.cat([samples.components[name] for samples in shown]).short()
    if signals is not None:
        index = signals.index(len(shown[0].images))
        arrays |= {"control": signals.control, "signal": index.repeat(len(shown))}
        if signals.originals is not None:
            arrays["originals"] = signals.originals
            for samples, each in zip(shown, options, strict=True):
                path = directory / "figures" / f"variants_top{each.top_s}.png"
                save_sheet(variant_rows(signals.originals, samples.images, index), path)
    save_arrays(arrays, directory / "samples.npz")
    for samples, each in zip(shown, options, strict=True):
        save_grid(samples.images, directory / "figures" / f"samples_top{each.top_s}.png")
