"""A clustering beside other methods with as many clusters on the same images.

Shapes: N samples, F features, T training samples.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from dcgmm.clustering.figures import ClusterFigures, cluster_figures
from dcgmm.clustering.peers import gaussian_mixture_labels, kmeans_labels

PEERS = {"k-means": kmeans_labels, "scikit-learn GMM": gaussian_mixture_labels}


@dataclass(frozen=True)
class Compared:
    """A clustering and its peers.

    Attributes:
        methods: figures by method, those of the clustering first.
        unconverged: methods whose figures are those of a fit that was cut short.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [0.5], [1.0], [7.0], [8.0], [9.0]]), torch.tensor([0, 0, 0, 1, 1, 1])
        >>> compared = dcgmm.clustering.compare("mine", points, labels, classes=labels)
        >>> {name: figures["dunn"] for name, figures in compared.methods.items()}
        {'mine': 3.0, 'k-means': 3.0, 'scikit-learn GMM': 3.0}
    """

    methods: dict[str, ClusterFigures]
    unconverged: list[str]


def compare(
    name: str,
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
    training: tuple[Tensor, Tensor] | None = None,  # (T,), (T,)
    seed: int = 0,
) -> Compared:
    """Judge a clustering, and the other methods with as many clusters on the same points.

    Args:
        name: of the clustering.
        points: (N, F), in the space that all are judged in.
        labels: (N,), integers: the cluster of each point.
        classes: (N,), integers.
        training: clusters and classes of other samples, which name the clusters for `majority_accuracy`.
        seed: of the other methods.

    Raises:
        InputError: arguments that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> digits = dcgmm.datasets.load("mnist_sample", classes=[0, 1], limit=30).test
        >>> points = digits.images[:, 10:18, 10:18].flatten(1) / 255
        >>> list(dcgmm.clustering.compare("classes", points, digits.labels, digits.labels).methods)
        ['classes', 'k-means', 'scikit-learn GMM']
    """
    own = cluster_figures(points, labels, classes, training)
    compared = Compared({name: own}, [])
    for peer, method in PEERS.items():
        found, converged = _fit(method, points, own["clusters"], seed)
        compared.methods[peer] = cluster_figures(points, found, classes)
        if not converged:
            compared.unconverged.append(peer)
    return compared


def _fit(
    method: Callable[[Tensor, int, int], Tensor], points: Tensor, clusters: int, seed: int
) -> tuple[Tensor, bool]:  # (N,)
    """Labels, and whether the method converged without scikit-learn's complaint."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        labels = method(points, clusters, seed)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return labels, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
