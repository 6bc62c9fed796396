"""Figures of sample quality, as the commands that draw images report them."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from dcgmm.checkpoints import load_run
from dcgmm.datasets import ImageData, load
from dcgmm.errors import InputError
from dcgmm.generation.classifier import Judge
from dcgmm.generation.frechet import FeatureReference
from dcgmm.generation.options import SamplingOptions
from dcgmm.generation.quality import Quality, judge, reference_of
from dcgmm.generation.sampling import sample
from dcgmm.judges import judge_of
from dcgmm.model import DCGMM
from dcgmm_cli.progress import reported
from dcgmm_cli.runs import find_models
from dcgmm_cli.schema import DrawConfig, QualityConfig
from dcgmm_cli.terminal import print_table
from dcgmm_cli.trained import OpenedRun, warn_if_unfinished

log = logging.getLogger(__name__)


def check_quality(config: QualityConfig) -> None:
    """Check that the options have an effect.

    Raises:
        InputError: one has none.
    """
    if config.flat is not None and not config.count:
        raise InputError(f"quality.flat={config.flat} has no effect with quality.count=0")


def flat_of(config: DrawConfig, opened: OpenedRun) -> DCGMM | None:
    """The model of `quality.flat`, on the device of the run's; None where none is given.

    Raises:
        InputError: there is no such run, or it is not of one GMM layer on such images.
    """
    name, model = config.quality.flat, opened.model
    if name is None:
        return None
    run, *others = find_models(name, config.runs_dir, "quality.flat")
    if others:
        raise InputError(f"quality.flat={name} has {1 + len(others)} models: give the directory of one, such as {run}")
    trained = load_run(run)
    warn_if_unfinished(trained)
    flat = trained.model.to(model.device).eval()
    if len(flat.gmms) != 1 or flat.input_shape != model.input_shape:
        raise InputError(
            f"quality.flat={name} must be a run of one GMM layer on images of {model.input_shape}; "
            f"it has {len(flat.gmms)}, on images of {flat.input_shape}"
        )
    return flat


def report_quality(
    config: DrawConfig,
    opened: OpenedRun,
    flat: DCGMM | None,
    options: SamplingOptions,
    judged: Mapping[str, Tensor],  # (N, H, W, C) each
    result: dict[str, Any],
) -> None:
    """Judge sets of images, equally many test images and a flat GMM's samples; put the figures in `result`, print them.

    The first set's figures stand at the top of `result`, all of them under `quality`. The test images are drawn by the
    seed (a file's order need not be random), all of them where there are fewer.

    What so few training images do not allow is left out, and the log says so.

    Raises:
        InputError: the data cannot be used.
    """
    data, device = opened.data(), opened.model.device
    if min(len(data.train), config.quality.count) < 2:
        log.warning("no figures of quality: they take at least 2 training images and 2 samples")
        return
    if len(data.train) < config.quality.bins:
        few = f"{len(data.train)} training images are fewer than {config.quality.bins} bins"
        log.warning("no NDB and no JS: %s; quality.bins=N takes fewer", few)
    count, generator = config.quality.count, torch.Generator().manual_seed(config.seed)
    reference = reference_of(data.train.images.to(device), config.quality.bins, count, generator)
    shuffled = data.test[torch.randperm(len(data.test), generator=generator)]
    features = None
    if config.quality.frechet:
        features = _features(opened, data, shuffled.images, count)
    figures = {name: judge(images, reference, features) for name, images in judged.items()}
    tests = shuffled.images[:count]
    if len(tests) > 1:
        figures["test images"] = judge(tests.to(device), reference, features)
    if flat is not None:
        scale = options.std_scale[0] if isinstance(options.std_scale, list | tuple) else options.std_scale
        drawn = sample(flat, count, seed=config.seed, options=SamplingOptions(1, scale)).images
        figures["flat GMM"] = judge(drawn, reference, features)
    first = asdict(next(iter(figures.values())))
    result.update({key: value for key, value in first.items() if key != "count"})
    result["quality"] = {name: asdict(value) for name, value in figures.items()}
    caption = []
    if features is not None:
        accuracy = features.judge.accuracy(shuffled.images, shuffled.labels)
        result["judge"] = {
            "digest": features.judge.digest,
            "accuracy": accuracy,
            "count": features.count,
            "reference": features.size,
        }
        caption = [
            f"Fréchet distance of {features.count:,} images to {features.size:,} other test images, in the features of "
            f"a classifier that is right on {accuracy:.1%}: compare it within this column only"
        ]
    _print_table(figures, caption)


def _features(opened: OpenedRun, data: ImageData, tests: Tensor, count: int) -> FeatureReference | None:
    """Features of test images by the data set's judge; None, with the reason in the log, where it cannot have one."""
    try:
        return FeatureReference.of(trained_judge(opened, data), tests, count)
    except InputError as error:
        log.info("no Fréchet distance: %s", error)
        return None


def trained_judge(opened: OpenedRun, data: ImageData) -> Judge:
    """The judge of the run's data set, on the model's device; trained, with a progress bar, where there is none yet.

    Raises:
        InputError: the data cannot train one.
    """
    chosen = opened.config.dataset
    if chosen.classes is not None or chosen.limit is not None:
        # One judge a data set, which knows all its classes: figures of runs on different parts can be compared.
        with reported("decode", "images") as report:
            data = load(replace(chosen, classes=None, limit=None), report=report)
    with reported(f"judge of {data.name}", "steps") as report:
        judge = judge_of(data.name, data.train.images, data.train.labels, report=report)
    return judge.to(opened.model.device)


def _print_table(figures: Mapping[str, Quality], caption: list[str]) -> None:
    first = next(iter(figures.values()))
    fewer = [f"{name}: only {quality.count}" for name, quality in figures.items() if quality.count < first.count]
    table = Table(
        title=f"{first.count} images" + (f"; NDB of {first.bins} bins" if first.bins else ""),
        caption="\n".join([*([", ".join(fewer)] if fewer else []), *caption]) or None,
    )
    columns = ("images", "diversity", "near-\nduplicates", "nearest training image", "NDB", "JS", "Fréchet")
    for column in columns:
        table.add_column(column, justify="left" if column == "images" else "right")
    for name, quality in figures.items():
        table.add_row(
            name,
            f"{quality.diversity:.3f}",
            f"{quality.near_duplicates:.1%}",
            f"{quality.train_distance:.3f}",
            "" if quality.ndb is None else str(quality.ndb),
            "" if quality.js is None else f"{quality.js:.4f}",
            "" if quality.frechet is None else f"{quality.frechet:.1f}",
        )
    print_table(table)
