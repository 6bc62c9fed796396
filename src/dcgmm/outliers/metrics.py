"""How well a score tells inliers from outliers. Scores are high for inliers; ties are counted as ties.

Shapes: n inliers, m outliers, T thresholds.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Detection(NamedTuple):
    """Figures of a score, each in [0, 1].

    Attributes:
        auroc: probability that an inlier scores higher than an outlier, ties as half.
        average_precision_inliers: inliers are what is looked for.
        average_precision_outliers: outliers are what is looked for.
        false_positive_rate_95: outliers taken for inliers where at least 95% of the inliers are kept.

    Examples:
        >>> import dcgmm
        >>> import numpy as np
        >>> dcgmm.outliers.judge(np.array([3.0, 4.0]), np.array([1.0, 2.0])).false_positive_rate_95
        0.0
    """

    auroc: float
    average_precision_inliers: float
    average_precision_outliers: float
    false_positive_rate_95: float


def judge(inliers: Floats, outliers: Floats) -> Detection:  # (n,), (m,), n and m at least 1
    """All figures of a score.

    Args:
        inliers: (n,), scores of at least one.
        outliers: (m,), scores of at least one; high scores are those of inliers.

    Examples:
        >>> import dcgmm
        >>> import numpy as np
        >>> dcgmm.outliers.judge(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.5])).auroc
        0.875
    """
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
    """Figure 3: what each threshold does.

    Attributes:
        inliers_kept: (T,), fraction of inliers at or above it.
        outliers_removed: (T,), fraction of outliers below it.

    Examples:
        >>> import dcgmm
        >>> import numpy as np
        >>> curve = dcgmm.outliers.detection_curve(np.array([2.0, 3.0]), np.array([0.0, 2.5]), np.array([1.0, 2.7]))
        >>> curve.outliers_removed.tolist()
        [0.5, 1.0]
    """

    inliers_kept: Floats
    outliers_removed: Floats


def detection_curve(inliers: Floats, outliers: Floats, thresholds: Floats) -> Curve:  # (n,), (m,), (T,)
    """Inliers kept and outliers removed by each threshold (figure 3).

    Args:
        inliers: (n,), scores; those that are NaN are kept by no threshold.
        outliers: (m,), scores.
        thresholds: (T,).

    Examples:
        >>> import dcgmm
        >>> import numpy as np
        >>> curve = dcgmm.outliers.detection_curve(np.array([2.0, 3.0]), np.array([0.0, 2.5]), np.array([1.0, 2.7]))
        >>> curve.inliers_kept.tolist()
        [1.0, 0.5]
    """
    # What has no score (NaN) is no inlier.
    inliers, outliers = (np.where(np.isnan(scores), -np.inf, scores) for scores in (inliers, outliers))
    below_in = np.searchsorted(np.sort(inliers), thresholds, "left")
    below_out = np.searchsorted(np.sort(outliers), thresholds, "left")
    return Curve(1 - below_in / len(inliers), below_out / len(outliers))
