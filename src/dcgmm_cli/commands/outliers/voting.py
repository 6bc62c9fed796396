"""Other runs whose models judge beside the run's own."""

import logging
from collections.abc import Sequence

from dcgmm.checkpoints import TrainedRun
from dcgmm.errors import InputError
from dcgmm.outliers import Detector, Ensemble
from dcgmm_cli.schema import OutliersConfig
from dcgmm_cli.trained import OpenedRun, load_models

log = logging.getLogger(__name__)
KEY = "outliers.voters"


def voters_of(config: OutliersConfig, opened: OpenedRun) -> list[Detector]:
    """The detectors of `outliers.voters`.

    Raises:
        InputError: there is no such run, its training has not ended or was on other images, or one would vote twice.
    """
    voters = [_voter(name, config.runs_dir, opened) for name in config.outliers.voters or []]
    known = {opened.run.directory}
    for run in voters:
        if run.directory in known:
            raise InputError(f"{KEY}: {run.directory} would vote twice; the run itself votes in any case")
        known.add(run.directory)
    return [run.detector() for run in voters]


def with_voters(detector: Detector, others: Sequence[Detector], config: OutliersConfig, opened: OpenedRun) -> Detector:
    """The detector, or where others vote it and them together.

    Raises:
        InputError: an earlier version measured one of the detectors.
    """
    if not others:
        return detector
    images = opened.data().train.images
    log.info("measuring the vote of %d models on %d training images", len(others) + 1, len(images))
    return Ensemble.of([detector, *others], images, config.batch_size)


def _voter(name: str, runs_dir: str, opened: OpenedRun) -> TrainedRun:
    run = load_models(name, runs_dir, KEY)
    if run.state.get("data_digest") != opened.run.state.get("data_digest"):
        other = f"{KEY}={name} was trained on other images than {opened.run.directory}"
        raise InputError(f"{other}: give runs of the same")
    run.model.to(opened.model.device).eval()
    return run
