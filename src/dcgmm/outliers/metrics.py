"""How well a score tells inliers from outliers. Scores are high for inliers; ties are counted as ties.

Shapes: n inliers, m outliers, T thresholds.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Detection(NamedTuple):
    """Figures of a score, each in [0, 1]."""

    auroc: float  # probability that an inlier scores higher than an outlier, ties as half
    average_precision_inliers: float  # inliers are what is looked for
    average_precision_outliers: float  # outliers are what is looked for
    false_positive_rate_95: float  # outliers taken for inliers where at least 95% of the inliers are kept


def judge(inliers: Floats, outliers: Floats) -> Detection:  # (n,), (m,), n and m at least 1
    """All figures of a score."""
    return Detection(
        auroc(inliers, outliers),
        average_precision(inliers, outliers),
        average_precision(-outliers, -inliers),
        false_positive_rate(inliers, outliers),
    )


def auroc(inliers: Floats, outliers: Floats) -> float:  # (n,), (m,)
    """Area under the ROC curve: P(inlier > outlier) + P(equal) / 2 over all pairs."""
    ordered = np.sort(outliers)
    below = np.searchsorted(ordered, inliers, "left")
    up_to = np.searchsorted(ordered, inliers, "right")
    return float((below + up_to).mean() / (2 * len(outliers)))


def average_precision(wanted: Floats, others: Floats) -> float:  # (n,), (m,)
    """Sum of (R_i - R_{i-1}) P_i over the thresholds from the highest down; R recall of `wanted`, P precision."""
    thresholds, found = np.unique(wanted, return_counts=True)
    hits = np.cumsum(found[::-1])[::-1]  # wanted at or above each threshold
    false = len(others) - np.searchsorted(np.sort(others), thresholds, "left")
    return float((found * hits / (hits + false)).sum() / len(wanted))


def false_positive_rate(inliers: Floats, outliers: Floats, kept: float = 0.95) -> float:  # (n,), (m,)
    """Fraction of outliers at or above the highest threshold that keeps at least the fraction `kept` of inliers."""
    needed = int(np.ceil(kept * len(inliers) - 1e-9))
    threshold = np.sort(inliers)[len(inliers) - needed]
    return float((outliers >= threshold).mean())


class Curve(NamedTuple):
    """Figure 3: what each threshold does."""

    inliers_kept: Floats  # (T,), fraction of inliers at or above it
    outliers_removed: Floats  # (T,), fraction of outliers below it


def detection_curve(inliers: Floats, outliers: Floats, thresholds: Floats) -> Curve:  # (n,), (m,), (T,)
    """Inliers kept and outliers removed by each threshold (figure 3)."""
    # What has no score (NaN) is no inlier.
    inliers, outliers = (np.where(np.isnan(scores), -np.inf, scores) for scores in (inliers, outliers))
    below_in = np.searchsorted(np.sort(inliers), thresholds, "left")
    below_out = np.searchsorted(np.sort(outliers), thresholds, "left")
    return Curve(1 - below_in / len(inliers), below_out / len(outliers))
