"""`dcgmm outliers`: judge a trained model as a detector of outliers, or score new images with it."""

import logging

from dcgmm.datasets.images import iter_images
from dcgmm.errors import InputError
from dcgmm.files import DETECTOR
from dcgmm.outliers import Detector
from dcgmm_cli.commands.outliers.judging import judge
from dcgmm_cli.commands.outliers.known import known_inliers, known_outliers
from dcgmm_cli.commands.outliers.scoring import score
from dcgmm_cli.job import Job
from dcgmm_cli.schema import OutliersConfig
from dcgmm_cli.trained import OpenedRun, open_run

log = logging.getLogger(__name__)


def run(config: OutliersConfig, job: Job) -> None:
    """Judge the run's model by known outliers, or score the images of `input`.

    Raises:
        InputError: a value of the configuration cannot be, or images are missing or of another shape.
    """
    _check(config)
    opened = open_run(config, job)
    if config.input is not None:
        new = iter_images(config.input, opened.model.input_shape, config.batch_size)
        detector = _detector(opened, config.batch_size)
        score(new, detector, detector.name_of(config.outliers.score), config.outliers, job)
    else:
        outliers = known_outliers(config.outliers, opened)  # first: what is wrong with them should be told soon
        inliers = known_inliers(opened)
        detector = _detector(opened, config.batch_size)
        judge(inliers, outliers, detector, detector.name_of(config.outliers.score), config, job)


def _check(config: OutliersConfig) -> None:
    options = config.outliers
    given = {"classes": options.classes, "dataset": options.dataset, "path": options.path}
    named = [f"outliers.{key}" for key, value in given.items() if value is not None]
    if config.input is not None and named:
        raise InputError(f"input={config.input} scores images that have no labels: leave out {', '.join(named)}")
    if options.path is not None and len(named) > 1:
        raise InputError(
            f"outliers.path={options.path} names the outliers by itself: leave out {', '.join(named[:-1])}"
        )


def _detector(opened: OpenedRun, batch_size: int) -> Detector:
    """The detector that training left, or else, where it has not ended, one fitted to the run's training images."""
    if (opened.run.directory / DETECTOR).is_file():
        return opened.run.detector()
    images = opened.data().train.images
    log.info("measuring the scores of %d training images", len(images))
    return Detector.fit(opened.model, images, batch_size)
