"""All figures of a clustering."""

from typing import TypedDict

import numpy as np
import sklearn
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from torch import Tensor

from dcgmm.clustering.agreement import majority_accuracy, matched_accuracy, purity
from dcgmm.clustering.centroids import centroid_dunn_index
from dcgmm.clustering.dunn import dunn_index
from dcgmm.clustering.points import checked, checked_labels

WORKING_MEMORY_MIB = 64  # for scikit-learn's blocks of distances, whose default is 1 GiB


class ClusterFigures(TypedDict):
    """All figures of a clustering, ready for JSON: a figure that is not defined is None.

    Attributes:
        clusters: labels in use.
        sizes: samples by label, in ascending order of labels.
        dunn: Dunn index, see `DunnIndex` for it and the next four.
        dunn_without_duplicates: over pairs of different points.
        zero_pairs: pairs of equal points in different clusters.
        separation: smallest distance between points of different clusters.
        diameter: largest distance between points of one cluster.
        dunn_centroid: see `centroid_dunn_index`.
        davies_bouldin: lower is better; this and the next two as scikit-learn computes them.
        silhouette: in [-1, 1].
        calinski_harabasz: at least 0.
        nmi: normalised mutual information with the classes, in [0, 1].
        adjusted_rand: adjusted Rand index with the classes, at most 1.
        purity: see `purity`.
        accuracy: see `matched_accuracy`.
        majority_accuracy: see `majority_accuracy`.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> figures = dcgmm.clustering.cluster_figures(torch.tensor([[0.0], [1.0]]), torch.tensor([3, 3]))
        >>> figures["clusters"], figures["sizes"], figures["dunn"]
        (1, {'3': 2}, None)
    """

    clusters: int
    sizes: dict[str, int]
    dunn: float | None
    dunn_without_duplicates: float | None
    zero_pairs: int | None
    separation: float | None
    diameter: float | None
    dunn_centroid: float | None
    davies_bouldin: float | None
    silhouette: float | None
    calinski_harabasz: float | None
    nmi: float | None
    adjusted_rand: float | None
    purity: float | None
    accuracy: float | None
    majority_accuracy: float | None


def cluster_figures(
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
    classes: Tensor | None = None,  # (N,)
    training: tuple[Tensor, Tensor] | None = None,  # (T,), (T,)
) -> ClusterFigures:
    """Compute every figure of a clustering, None where one is not defined.

    A single cluster leaves only its size and the agreement with classes. Where all points of each cluster
    are equal, no Dunn index and no Calinski-Harabasz score is defined; where every sample is a cluster of its
    own, none of scikit-learn's scores either.

    Args:
        points: (N, F), in the space that the clusters are judged in.
        labels: (N,), integers: the cluster of each point.
        classes: (N,), integers; None leaves out the agreement with classes.
        training: labels and classes of other samples, which name the clusters for `majority_accuracy`.

    Raises:
        InputError: arguments that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [2.0], [7.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> figures = dcgmm.clustering.cluster_figures(points, labels, classes=torch.tensor([4, 4, 8, 4]))
        >>> figures["sizes"], figures["dunn"], figures["purity"]
        ({'0': 2, '1': 2}, 2.5, 0.75)
    """
    x, clusters = checked(points, labels)
    used, sizes = np.unique(clusters, return_counts=True)
    figures = ClusterFigures(
        clusters=len(used),
        sizes={str(label): int(size) for label, size in zip(used, sizes, strict=True)},
        dunn=None,
        dunn_without_duplicates=None,
        zero_pairs=None,
        separation=None,
        diameter=None,
        dunn_centroid=None,
        davies_bouldin=None,
        silhouette=None,
        calinski_harabasz=None,
        nmi=None,
        adjusted_rand=None,
        purity=None,
        accuracy=None,
        majority_accuracy=None,
    )
    if len(used) > 1:
        dunn = dunn_index(points, labels)
        figures["dunn"] = dunn.value
        figures["dunn_without_duplicates"] = dunn.value_without_duplicates
        figures["zero_pairs"] = dunn.zero_pairs
        figures["separation"] = dunn.separation
        figures["diameter"] = dunn.diameter
        figures["dunn_centroid"] = centroid_dunn_index(points, labels)
        if len(used) < len(x):
            figures["davies_bouldin"] = float(davies_bouldin_score(x, clusters))
            with sklearn.config_context(working_memory=WORKING_MEMORY_MIB):
                figures["silhouette"] = float(silhouette_score(x, clusters))
            if dunn.diameter > 0:  # else scikit-learn puts 1 for a division by 0
                figures["calinski_harabasz"] = float(calinski_harabasz_score(x, clusters))
    if classes is not None:
        figures["purity"] = purity(labels, classes)
        figures["accuracy"] = matched_accuracy(labels, classes)
        truth = checked_labels(classes, "classes")
        figures["nmi"] = float(normalized_mutual_info_score(truth, clusters))
        figures["adjusted_rand"] = float(adjusted_rand_score(truth, clusters))
        if training is not None:
            figures["majority_accuracy"] = majority_accuracy(labels, classes, *training)
    return figures
