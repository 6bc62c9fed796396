"""Figures of a classifier on labelled images.

Shapes: N images, G classes.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from dcgmm.classification.calibration import Reliability, expected_calibration_error, reliability
from dcgmm.errors import InputError


@dataclass(frozen=True)
class ClassFigures:
    """How well classes are told.

    Attributes:
        accuracy: share of images whose most likely class is theirs.
        log_loss: mean of -log p(their class | x), nats.
        ece: expected calibration error, see `expected_calibration_error`.
        confusion: (G, G), images by class (rows) and by what they were taken for (columns).
        reliability: confidence and accuracy in bins.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> log_posterior = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()
        >>> figures = dcgmm.classification.class_figures(log_posterior, torch.tensor([0, 1]))
        >>> figures.accuracy, round(figures.ece, 3), round(figures.log_loss, 3)
        (1.0, 0.25, 0.288)
    """

    accuracy: float
    log_loss: float
    ece: float
    confusion: Tensor
    reliability: Reliability


def class_figures(
    log_posterior: Tensor,  # (N, G)
    index: Tensor,  # (N,), the column of each image's class
) -> ClassFigures:
    """Figures of what was said of images whose classes are known.

    Args:
        log_posterior: (N, G), log p(c | x).
        index: (N,), the column of each image's class.

    Raises:
        InputError: there are no images.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> log_posterior = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log()
        >>> figures = dcgmm.classification.class_figures(log_posterior, torch.tensor([0, 0]))
        >>> figures.accuracy, figures.confusion.tolist()
        (0.5, [[1, 1], [0, 0]])
    """
    if not len(index):
        raise InputError("figures of a classifier need at least one image, not 0")
    classes = log_posterior.shape[1]
    best, found = log_posterior.double().max(-1)
    right = found == index
    confidence = best.exp().clamp(max=1)
    return ClassFigures(
        float(right.double().mean()),
        float(F.nll_loss(log_posterior.double(), index)),
        expected_calibration_error(confidence, right),
        (index * classes + found).bincount(minlength=classes**2).view(classes, classes),
        reliability(confidence, right),
    )
