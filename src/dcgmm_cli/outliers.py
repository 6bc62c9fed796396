"""Outliers: scores of images and of positions in them, thresholds learnt from training images, judgement of a score.

All scores are high for inliers. Nothing here learns from an outlier. Shapes: N images, H W positions of a GMM layer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM, Scored
from dcgmm_cli.statistics import Moments, image_batches

Floats = NDArray[np.float64]

LAYER_SCORES = ("log_prob", "max_component", "standardised")
COMBINED = "combined"
SCORES = (*LAYER_SCORES, COMBINED)


def standardise(values: Tensor, moments: Moments) -> Tensor:  # (N, H, W) -> (N, H, W), float64
    """Distance from the training mean in training standard deviations, (value - mean) / std, at each position.

    A position is an inlier at `c` where this is at least -c (section 3.2.2: L >= mean - c std).
    A position that never varied in training has 0 at its mean, and an infinite distance elsewhere.
    """
    difference = values.double() - moments.mean
    return torch.where(difference == 0, 0.0, difference / moments.variance.sqrt())


@dataclass(frozen=True)
class LayerMaps:
    """What a GMM layer says of each position of some images."""

    log_prob: Tensor  # (N, H, W), log-sum-exp, nats
    max_component: Tensor  # (N, H, W), max-component score, nats
    standardised: Tensor  # (N, H, W), log_prob in training standard deviations from its training mean


def layer_maps(scored: Mapping[str, Scored], positions: Mapping[str, Moments]) -> dict[str, LayerMaps]:
    """Maps of every GMM layer, from a batch's scores and the training statistics of the log-likelihood."""
    return {
        name: LayerMaps(layer.log_prob, layer.max_component_score, standardise(layer.log_prob, positions[name]))
        for name, layer in scored.items()
    }
