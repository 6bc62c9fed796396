"""Other methods of clustering, to compare with."""

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor

from dcgmm.clustering.points import checked_points, require_enough

MIN_VARIANCE = 0.05  # of the peer mixture: the model's own limit, a precision of 20


def kmeans_labels(
    points: Tensor,  # (N, F)
    clusters: int,
    seed: int,
) -> Tensor:  # (N,)
    """Assign each point by k-means (scikit-learn, k-means++ start).

    Args:
        points: (N, F).
        clusters: how many, 1 to N.
        seed: of the start.

    Returns:
        (N,) labels from 0.

    Raises:
        InputError: fewer points than clusters, or no cluster.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> labels = dcgmm.clustering.kmeans_labels(torch.tensor([[0.0], [1.0], [9.0]]), clusters=2, seed=0)
        >>> bool(labels[0] == labels[1]), bool(labels[0] == labels[2])
        (True, False)
    """
    x = checked_points(points)
    require_enough(x, clusters)
    fitted = KMeans(n_clusters=clusters, n_init=1, random_state=seed).fit_predict(x)
    return torch.from_numpy(fitted.astype(np.int64))


def gaussian_mixture_labels(
    points: Tensor,  # (N, F)
    clusters: int,
    seed: int,
) -> Tensor:  # (N,)
    """Assign each point to its most likely component of a flat mixture fitted by EM (scikit-learn, diagonal).

    Args:
        points: (N, F).
        clusters: how many, 1 to N.
        seed: of the start.

    Returns:
        (N,) labels from 0.

    Raises:
        InputError: fewer points than clusters, or no cluster.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> labels = dcgmm.clustering.gaussian_mixture_labels(torch.tensor([[0.0], [1.0], [9.0]]), clusters=2, seed=0)
        >>> bool(labels[0] == labels[1]), bool(labels[0] == labels[2])
        (True, False)
    """
    x = checked_points(points).astype(np.float64)
    require_enough(x, clusters)
    mixture = GaussianMixture(clusters, covariance_type="diag", reg_covar=MIN_VARIANCE, random_state=seed)
    return torch.from_numpy(mixture.fit_predict(x).astype(np.int64))
