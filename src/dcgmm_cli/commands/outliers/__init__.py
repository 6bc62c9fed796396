"""`dcgmm outliers`: judge a trained model as a detector of outliers, or score new images with it."""

import logging
from collections.abc import Iterator, Sequence

import torch

from dcgmm.datasets.images import iter_images, together
from dcgmm.errors import InputError, OptionError
from dcgmm.files import DETECTOR
from dcgmm.images import to_float
from dcgmm.outliers import Detector
from dcgmm.outliers.options import VOTE, score_names
from dcgmm_cli.commands.outliers.judging import judge
from dcgmm_cli.commands.outliers.known import known_inliers, known_outliers
from dcgmm_cli.commands.outliers.partly import Part, one_detector, parts_of
from dcgmm_cli.commands.outliers.scoring import score
from dcgmm_cli.commands.outliers.voting import KEY, voters_of, with_voters
from dcgmm_cli.job import Job
from dcgmm_cli.masks import NAN, check_mask
from dcgmm_cli.schema import OutlierOptions, OutliersConfig
from dcgmm_cli.trained import OpenedRun, open_run

log = logging.getLogger(__name__)


def run(config: OutliersConfig, job: Job) -> None:
    """Judge the run's model by known outliers, or score the images of `input`.

    Raises:
        InputError: a value of the configuration cannot be, or images are missing or of another shape.
    """
    _check(config)
    opened = open_run(config, job)
    _check_score(config.outliers, opened)
    voters = voters_of(config, opened)
    if config.input is not None:
        _score_new(config.input, config, opened, voters, job)
    else:
        listing = opened.listing()
        outliers = known_outliers(config.outliers, opened, listing)  # first: what is wrong with them is told soon
        inliers = known_inliers(opened, listing)
        detector = _detector(opened, config, voters)
        observed = None
        if config.mask is not None:
            both = torch.cat([to_float(known.images, opened.model.dtype) for known in (inliers, outliers)])
            detector, observed = one_detector(both, config, detector, opened)
        judge(inliers, outliers, observed, detector, detector.name_of(config.outliers.score), config, job)


def _score_new(path: str, config: OutliersConfig, opened: OpenedRun, voters: Sequence[Detector], job: Job) -> None:
    if config.mask is None:
        new = iter_images(path, opened.run.preparation, config.batch_size or opened.model.batch_size)
        detector = _detector(opened, config, voters)
        parts: Iterator[Part] = (Part(batch, detector, None) for batch in new)
    else:
        # What cannot be used `score` tells of, with images of which nothing was seen.
        every = together(list(iter_images(path, opened.run.preparation, missing=config.mask == NAN)))
        detector = _detector(opened, config, voters)
        parts = parts_of(every, config, detector, opened)
    score(path, parts, detector.name_of(config.outliers.score), config.outliers, job)


def _check(config: OutliersConfig) -> None:
    options = config.outliers
    check_mask(config.mask, config.share, config.input)
    if options.voters and config.mask is not None:
        raise InputError(f"{KEY} judge whole images: leave out mask={config.mask}")
    given = {"classes": options.classes, "dataset": options.dataset, "path": options.path}
    named = [f"outliers.{key}" for key, value in given.items() if value is not None]
    if config.input is not None and named:
        raise InputError(f"input={config.input} scores images that have no labels: leave out {', '.join(named)}")
    if options.path is not None and len(named) > 1:
        raise InputError(
            f"outliers.path={options.path} names the outliers by itself: leave out {', '.join(named[:-1])}"
        )


def _check_score(options: OutlierOptions, opened: OpenedRun) -> None:
    """Check the name of the score, before anything is measured for it.

    Raises:
        OptionError: there is no such score.
    """
    known = score_names(opened.model.gmms) + [VOTE] * bool(options.voters)
    if options.score not in known:
        more = "" if options.voters else f" ({VOTE} takes {KEY})"
        raise OptionError("score", f"one of {', '.join(known)}{more}", options.score, OutlierOptions)


def _detector(opened: OpenedRun, config: OutliersConfig, voters: Sequence[Detector]) -> Detector:
    """The run's detector, with those that vote beside it."""
    return with_voters(_own_detector(opened, config), voters, config, opened)


def _own_detector(opened: OpenedRun, config: OutliersConfig) -> Detector:
    """The detector that training left; where that has not ended, or without p-values, one fitted to training images."""
    options = config.outliers
    asked = options.score == "auto" or options.false_alarms is not None or options.maps
    if (opened.run.directory / DETECTOR).is_file():
        detector = opened.run.detector()
        if detector.calibration is not None or not asked:
            return detector
    images = opened.data().train.images
    log.info("measuring the scores of %d training images", len(images))
    return Detector.fit(opened.model, images, config.batch_size, pooled=opened.config.trainer.tile is not None)
