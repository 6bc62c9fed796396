"""Names of outlier scores and figures. Imports nothing slow.

Examples:
    >>> import dcgmm
    >>> dcgmm.outliers.SCORES  # what `Detector.name_of` takes; log_prob and standardised are of a GMM layer
    ('log_prob', 'standardised', 'ratio', 'joint', 'pixels', 'worst', 'worst_region', 'auto')
"""

from collections.abc import Iterable

LAYER_SCORES = ("log_prob", "standardised")  # of each GMM layer
MODEL_SCORES = ("ratio", "joint", "pixels", "worst", "worst_region", "auto")  # of the whole model
VOTE = "vote"  # a score of several models (`Ensemble`)
SCORES = (*LAYER_SCORES, *MODEL_SCORES)


def score_names(layers: Iterable[str]) -> list[str]:
    """All names that a score of a model with these GMM layers can have.

    Examples:
        >>> score_names(["gmm1"])[-3:]
        ['auto', 'gmm1_log_prob', 'gmm1_standardised']
    """
    return [*SCORES, *(f"{layer}_{score}" for layer in layers for score in LAYER_SCORES)]


DEFAULT_C = 1.5  # an outlier scores less than mean - c standard deviations of the training images' scores
FAR = 0.001  # a position is far out if no more of an inlier's worst positions are as low

# Figures of how well outliers are told, and of which more is better.
HIGHER_IS_BETTER = {
    "auroc": True,
    "average_precision_inliers": True,
    "average_precision_outliers": True,
    "false_positive_rate_95": False,
    "kept": True,  # share of the inliers
    "removed": True,  # share of the outliers
    "pixel_auroc": True,
    "pro": True,
    "f1": True,
}
