"""Labels of a run's training images, as the commands that tell classes need them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dcgmm.classification import GenerativeClassifier
from dcgmm.datasets import ImageData
from dcgmm.datasets.loading import labels_of, listed
from dcgmm.errors import InputError, OptionError
from dcgmm_cli.schema import SampleConfig
from dcgmm_cli.trained import OpenedRun


def labelled_data(opened: OpenedRun) -> ImageData:
    """The run's data.

    Raises:
        InputError: their training images are not of several classes.
    """
    data = opened.data()
    trained = data.train.labels.unique().tolist()
    if len(trained) < 2:
        why = "; in a folder each class has a sub-folder" if data.name == "folder" else ""
        raise InputError(
            f"the run's training images are of one class, {listed(trained, data.class_names)}: telling classes takes "
            f"at least two{why}"
        )
    return data


def check_classes(config: SampleConfig) -> None:
    """Check that the classes have an effect.

    Raises:
        InputError: they have none, since something else says what is drawn.
    """
    others = {"like": config.like, "control": config.control, "sampling.start": config.sampling.start}
    for key, value in others.items():
        if config.classes is not None and value is not None:
            raise InputError(f"classes are drawn by weights of the last GMM layer: leave out {key}={value}")


class ClassDraws:
    """What images of some classes are drawn by.

    Args:
        classes: numbers or names.
        opened: the run, on whose training images each class's mixture weights are counted.
        seed: of what is chosen for them.

    Raises:
        InputError: there are no such classes, or the run was not trained on them, or on one class only.
    """

    def __init__(self, classes: Sequence[Any], opened: OpenedRun, seed: int) -> None:
        data = labelled_data(opened)
        trained = data.train.labels.unique().tolist()
        rule = f"some of those that the run was trained on: {listed(trained, data.class_names)}"
        try:
            self._labels = labels_of(classes, data.class_names)
        except OptionError as error:
            raise OptionError("classes", rule, error.value) from None
        for label in self._labels:
            if label not in trained:
                raise OptionError("classes", rule, listed([label], data.class_names))
        train = data.train
        self._classifier = GenerativeClassifier.fit(opened.model, train.images, train.labels, seed=seed)

    def labels(self, count: int) -> Tensor:  # (N,)
        """The class of each of `count` images: equally many of each, one after the other."""
        return torch.tensor(self._labels)[torch.arange(count) * len(self._labels) // count]

    def weights(self, count: int) -> Tensor:  # (N, H, W, K)
        """What the last GMM layer's components of these images are drawn by."""
        return self._classifier.component_weights(self.labels(count))
