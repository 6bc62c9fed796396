"""`dcgmm outliers`: judge a trained model as a detector of outliers, or score new images with it."""

import csv
import io
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dcgmm_cli.config import DatasetConfig, OutliersConfig
from dcgmm_cli.datasets import NAMES, load
from dcgmm_cli.datasets.images import ImageBatches
from dcgmm_cli.detection import detection_curve, judge
from dcgmm_cli.errors import UserError
from dcgmm_cli.localisation import at_pixels, centre_pixel, pixel_maps
from dcgmm_cli.outliers import COMBINED, LAYER_SCORES, SCORES, Detector, ImageReport
from dcgmm_cli.plots import detection_figure, outlier_maps, save_figure, score_histograms
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.runs import write_whole
from dcgmm_cli.runtime import Interruption
from dcgmm_cli.statistics import to_float
from dcgmm_cli.trained import TrainedRun, open_run

log = logging.getLogger(__name__)

CURVE = np.linspace(-2, 2, 41)  # values of c in the paper's figure 3
MARKED = (-2.0, -1.0, 0.0, 1.0, 2.0)
COLUMNS = (
    "file",
    "score",
    "standardised_score",
    "verdict",
    "worst_layer",
    "worst_row",
    "worst_column",
    "worst_standardised",
    "problem",
)


def run(
    config: OutliersConfig,
    overrides: list[str],
    directory: Path,
    result: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Judge the run's model by known outliers, or score the images of `input`, into `directory`; fill `result`.

    Raises:
        UserError: a value of the configuration cannot be, or images are missing or of another shape.
    """
    _check(config)
    trained = open_run(config, directory)
    sources = None if config.input else _sources(config, trained)
    new = ImageBatches(config.input, trained.model.input_shape, config.batch_size) if config.input else None
    detector = _detector(trained, config.batch_size)
    score = detector.name_of(config.outliers.score)
    result.update(score=score, c=config.outliers.c, threshold=detector.threshold(score, config.outliers.c))
    gallery = _Gallery(config.outliers.count, config.outliers.images or [])
    if new is not None:
        _score_new(new, detector, config, gallery, directory, result)
    elif sources is not None:
        _judge(sources, detector, config, gallery, directory, result)
    _save_maps(gallery, detector, config.outliers.c, directory / "figures")


def _check(config: OutliersConfig) -> None:
    options = config.outliers
    if not math.isfinite(options.c):
        raise UserError(f"outliers.c must be a finite number of standard deviations, as 1.5, not {options.c}")
    if options.score not in SCORES:
        raise UserError(f"outliers.score={options.score} is unknown; choose {', '.join(SCORES)}")
    if options.count < 0:
        raise UserError(f"outliers.count must be at least 0, not {options.count}")
    if config.batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {config.batch_size}")
    if options.dataset is not None and options.dataset not in (known := [name for name in NAMES if name != "folder"]):
        raise UserError(f"outliers.dataset={options.dataset} is unknown; choose {', '.join(known)}")
    given = {"classes": options.classes, "dataset": options.dataset, "path": options.path}
    named = [f"outliers.{key}" for key, value in given.items() if value is not None]
    if config.input is not None and named:
        raise UserError(f"input={config.input} scores images that have no labels: leave out {', '.join(named)}")
    if options.path is not None and len(named) > 1:
        raise UserError(f"outliers.path={options.path} names the outliers by itself: leave out {', '.join(named[:-1])}")


def _detector(trained: TrainedRun, batch_size: int) -> Detector:
    """The detector that training left in the checkpoint, or else one fitted to the run's training images."""
    if "image_statistics" in trained.checkpoint:
        return Detector.from_state(trained.model, trained.checkpoint)
    images = trained.data().train.images
    log.info("measuring the scores of %d training images", len(images))
    return Detector.fit(trained.model, images.to(trained.model.device), batch_size)


class _Batch:
    """Some images to score, on the CPU, with their names and labels (-1 where they have none)."""

    def __init__(self, names: list[str], images: Tensor, labels: Tensor | None = None) -> None:
        self.names, self.images = names, images
        self.labels = torch.full((len(images),), -1) if labels is None else labels


@dataclass(frozen=True)
class _Sources:
    """Images whose kind is known: inliers, then outliers."""

    inliers: DatasetConfig
    outliers: DatasetConfig | ImageBatches
