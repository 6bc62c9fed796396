"""Agreement of clusters with classes."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dcgmm.clustering.points import Integers, checked_labels, require_same_length


def contingency_matrix(
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
) -> Tensor:  # (M, G)
    """Count samples by cluster (rows) and class (columns), both in ascending order of those in use.

    Args:
        labels: (N,) integers, the cluster of each sample.
        classes: (N,) integers.

    Returns:
        (M, G) counts, of the M clusters and G classes in use.

    Raises:
        InputError: labels and classes that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> labels, classes = torch.tensor([0, 0, 0, 5, 5]), torch.tensor([1, 1, 2, 2, 2])
        >>> dcgmm.clustering.contingency_matrix(labels, classes).tolist()
        [[2, 1], [0, 2]]
    """
    return torch.from_numpy(_contingency(labels, classes)[2])


def purity(
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
) -> float:
    """Share of samples whose class is the most frequent one of their cluster.

    Each cluster is named after these same samples, so more clusters never give less, and singletons give 1:
    `majority_accuracy` names them after other samples.

    Args:
        labels: (N,) integers, the cluster of each sample.
        classes: (N,) integers.

    Raises:
        InputError: labels and classes that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> dcgmm.clustering.purity(torch.tensor([0, 0, 1, 1]), torch.tensor([7, 7, 7, 4]))
        0.75
    """
    counts = _contingency(labels, classes)[2]
    return float(counts.max(axis=1).sum() / counts.sum())


def matched_accuracy(
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
) -> float:
    """Share of samples that lie in the cluster matched with their class, under the best one-to-one matching.

    With more clusters than classes the unmatched clusters are all wrong, and the other way round.

    Args:
        labels: (N,) integers, the cluster of each sample.
        classes: (N,) integers.

    Raises:
        InputError: labels and classes that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> dcgmm.clustering.matched_accuracy(torch.tensor([0, 0, 1, 2]), torch.tensor([7, 7, 4, 4]))  # none left for 2
        0.75
    """
    counts = _contingency(labels, classes)[2]
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def majority_accuracy(
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
    training_labels: Tensor,  # (T,)
    training_classes: Tensor,  # (T,)
) -> float:
    """Share of samples whose class is the most frequent one among the training samples of their cluster.

    A cluster without training samples has no name: its samples count as wrong. With the samples themselves as
    training samples this is the purity. Ties go to the smaller class.

    Args:
        labels: (N,) integers, the cluster of each sample.
        classes: (N,) integers.
        training_labels: (T,) integers, the cluster of each training sample.
        training_classes: (T,) integers.

    Raises:
        InputError: labels and classes that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> training = torch.tensor([0, 0, 1]), torch.tensor([7, 7, 4])
        >>> dcgmm.clustering.majority_accuracy(torch.tensor([0, 1, 1, 2]), torch.tensor([7, 4, 7, 7]), *training)
        0.5
    """
    clusters, truth = checked_labels(labels, "labels"), checked_labels(classes, "classes")
    require_same_length(clusters, truth, "labels", "classes")
    named, kinds, counts = _contingency(training_labels, training_classes)
    names = kinds[counts.argmax(axis=1)]  # (M,)
    place = np.searchsorted(named, clusters).clip(max=len(named) - 1)
    return float(np.mean((named[place] == clusters) & (names[place] == truth)))


def _contingency(labels: Tensor, classes: Tensor) -> tuple[Integers, Integers, Integers]:
    """Clusters in use (M,), classes in use (G,), and the samples counted by both (M, G)."""
    clusters, truth = checked_labels(labels, "labels"), checked_labels(classes, "classes")
    require_same_length(clusters, truth, "labels", "classes")
    used, row = np.unique(clusters, return_inverse=True)
    kinds, column = np.unique(truth, return_inverse=True)
    counts = np.bincount(row * len(kinds) + column, minlength=len(used) * len(kinds))
    return used, kinds, counts.reshape(len(used), len(kinds))
