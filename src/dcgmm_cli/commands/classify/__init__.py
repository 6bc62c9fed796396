"""`dcgmm classify`: judge a trained model as a classifier, or classify new images with it."""

import logging
import time
from collections.abc import Mapping

from torch import Tensor

from dcgmm.classification import Classifier, Method
from dcgmm.classification.fitting import fit_classifier
from dcgmm.classification.readout import read_layers
from dcgmm.datasets import ImageData
from dcgmm.datasets.loading import listed
from dcgmm.errors import InputError
from dcgmm_cli.commands.classify.judging import chosen_test, judge
from dcgmm_cli.commands.classify.scoring import classify
from dcgmm_cli.job import Job
from dcgmm_cli.labels import labelled_data
from dcgmm_cli.masks import NAN, check_mask, read_observed
from dcgmm_cli.schema import ClassifyConfig
from dcgmm_cli.trained import OpenedRun, open_run

log = logging.getLogger(__name__)


def run(config: ClassifyConfig, job: Job) -> None:
    """Fit classifiers to the labels of the run's training images; judge them by its test images, or ask them.

    Raises:
        InputError: a value of the configuration cannot be, images are missing or of another shape, or there are no
            labels.
    """
    check_mask(config.mask, config.share, config.input)
    if config.input is not None and config.images is not None:
        given = f"images={config.images} has no effect with input={config.input}"
        raise InputError(f"{given}: it says how many test images are classified")
    opened = open_run(config, job)
    if Method.readout in config.methods:
        read_layers(opened.model, config.readout.layers)  # what is wrong should be told before anything is fitted
    if config.input is None:
        data = _known(labelled_data(opened))
        test = chosen_test(data, config)
        observed = _observed(config, opened, test.images)
        judge(_fitted(config, opened, data, job), data, test, observed, config, job)
    else:
        new = opened.run.prepare(config.input, missing=config.mask == NAN)
        observed = _observed(config, opened, new.images)
        data = labelled_data(opened)
        classify(new, observed, _fitted(config, opened, data, job), data.class_names, job)


def _observed(
    config: ClassifyConfig, opened: OpenedRun, images: Tensor
) -> Tensor | None:  # (N, H, W, C) -> (N, H, W) bool
    if config.mask is None:
        return None
    return read_observed(
        config.mask, images, share=config.share, seed=config.seed, resize=opened.run.preparation.resize
    )


def _known(data: ImageData) -> ImageData:
    """Data of whose test images' classes there are training images.

    Raises:
        InputError: some have none.
    """
    trained = data.train.labels.unique().tolist()
    if others := sorted({*data.test.labels.tolist()} - {*trained}):
        raise InputError(
            f"there are test images of {listed(others, data.class_names)}, which the run was not trained on: its "
            f"classes are {listed(trained, data.class_names)}"
        )
    return data


def _fitted(config: ClassifyConfig, opened: OpenedRun, data: ImageData, job: Job) -> Mapping[str, Classifier]:
    """The classifiers by name; what was chosen for them goes to the result."""
    train, fitted = data.train, {}
    for method in dict.fromkeys(config.methods):
        options = config.generative if method is Method.generative else config.readout
        started = time.perf_counter()
        found = fit_classifier(opened.model, train.images, train.labels, method, seed=config.seed, **vars(options))
        fitted[method.value] = found
        said = found.description
        job.result[method.value] = said | {"fit_seconds": round(time.perf_counter() - started, 4)}
        log.info("%s fitted to %d images: %s", method, len(train), ", ".join(f"{k} {v}" for k, v in said.items()))
    return fitted
