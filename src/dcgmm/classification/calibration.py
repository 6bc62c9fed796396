"""Calibration: whether what a classifier is sure of is as often right as it is sure.

Shapes: N images, B bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.options import whole

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Images by confidence, the probability of the class that they are taken for, in bins of equal width of [0, 1].

    Attributes:
        count: (B,), images.
        confidence: (B,) float64, mean confidence; NaN in an empty bin.
        accuracy: (B,) float64, share that is right; NaN in an empty bin.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> confidence, right = torch.tensor([0.25, 0.75, 0.75]), torch.tensor([True, True, False])
        >>> found = dcgmm.classification.reliability(confidence, right, bins=2)
        >>> found.confidence.tolist(), found.accuracy.tolist()  # too modest, then too sure
        ([0.25, 0.75], [1.0, 0.5])
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor


def reliability(
    confidence: Tensor,  # (N,), in [0, 1]
    right: Tensor,  # (N,) bool
    bins: int = BINS,
) -> Reliability:
    """Count, confidence and accuracy of the images in each bin; bin b is (b / B, (b + 1) / B], the first one also 0.

    Args:
        confidence: (N,), in [0, 1], the probability of the class that each image is taken for.
        right: (N,) bool, whether it is of that class.
        bins: B.

    Raises:
        OptionError: bins is no whole number of at least 1.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> right = torch.tensor([True, True, False])
        >>> dcgmm.classification.reliability(torch.tensor([0.2, 0.9, 0.6]), right, bins=2).count.tolist()
        [1, 2]
    """
    if not whole(least=1).holds(bins):
        raise OptionError("bins", whole(least=1).text, bins)
    exact = confidence.double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=exact.device)[1:-1]
    place = torch.bucketize(exact, edges)
    count = place.bincount(minlength=bins)
    sums = (place.bincount(values, minlength=bins) for values in (exact, right.double()))
    return Reliability(count, *(each / count for each in sums))


def expected_calibration_error(
    confidence: Tensor,  # (N,), in [0, 1]
    right: Tensor,  # (N,) bool
    bins: int = BINS,
) -> float:
    """Expected calibration error: sum over bins of n_b / N |accuracy_b - confidence_b|, bins as in `reliability`.

    Args:
        confidence: (N,), in [0, 1], the probability of the class that each image is taken for.
        right: (N,) bool, whether it is of that class.
        bins: B.

    Raises:
        OptionError: bins is no whole number of at least 1.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> dcgmm.classification.expected_calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))
        0.25

    Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks" (2017), equation 3.
    """
    found = reliability(confidence, right, bins)
    gaps = found.count * (found.accuracy - found.confidence).abs()
    return float(gaps[found.count > 0].sum() / found.count.sum())
