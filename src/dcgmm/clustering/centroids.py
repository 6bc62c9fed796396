"""Figures of the clusters' means."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.clustering.points import Floats, Integers, checked, require_two_clusters
from dcgmm.errors import InputError


def cluster_means(
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
) -> tuple[Tensor, Tensor]:  # (M,), (M, F)
    """Labels in use, ascending, and the mean of each cluster's points.

    Args:
        points: (N, F).
        labels: (N,) integers, the cluster of each point.

    Returns:
        (M,) labels, and (M, F) float64 means.

    Raises:
        InputError: points and labels that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> used, means = dcgmm.clustering.cluster_means(torch.tensor([[0.0], [2.0], [9.0]]), torch.tensor([3, 3, 5]))
        >>> used.tolist(), means.tolist()
        ([3, 5], [[1.0], [9.0]])
    """
    parts = list(_each_cluster(*checked(points, labels)))
    used, means = [label for label, _, _, _ in parts], [mean for _, _, mean, _ in parts]
    return torch.tensor(used), torch.from_numpy(np.stack(means))


def nearest_to_means(
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
    count: int,
) -> dict[int, Tensor]:
    """Rows of the `count` points nearest to their cluster's mean, nearest first, by label in use.

    A smaller cluster gives all its points.

    Args:
        points: (N, F).
        labels: (N,) integers, the cluster of each point.
        count: points a cluster, at most.

    Raises:
        InputError: points and labels that do not fit each other, or a count below 1.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [1.0], [5.0], [9.0]]), torch.tensor([0, 0, 0, 1])
        >>> {label: rows.tolist() for label, rows in dcgmm.clustering.nearest_to_means(points, labels, 2).items()}
        {0: [1, 0], 1: [3]}
    """
    if count < 1:
        raise InputError(f"count {count}: at least 1 sample per cluster can be picked; raise it")
    x, clusters = checked(points, labels)
    return {
        label: torch.from_numpy(rows[np.argsort(distances, kind="stable")[:count]])
        for label, rows, _, distances in _each_cluster(x, clusters)
    }


def centroid_dunn_index(
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
) -> float | None:
    """Dunn index in its centroid form, a quantity of its own, not comparable with `dunn_index`.

    `min {|c_a - c_b| : a != b} / max {|x_i - c_a| : l_i = a}`, with `c_a` the mean of cluster a: the smallest
    distance between centroids over the largest radius. None if that radius is 0.

    Args:
        points: (N, F), finite numbers of any unit.
        labels: (N,), integers.

    Raises:
        InputError: all points in one cluster, or points and labels that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [2.0], [7.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> dcgmm.clustering.centroid_dunn_index(points, labels)
        7.0

    Source: the definition of torchmetrics' DunnIndex (p = 2).
    """
    x, clusters = checked(points, labels)
    require_two_clusters(clusters, "a Dunn index")
    parts = list(_each_cluster(x, clusters))
    means = np.stack([mean for _, _, mean, _ in parts])
    radius = max(float(distances.max()) for _, _, _, distances in parts)
    separation = min(
        float(np.linalg.norm(means[first + 1 :] - mean, axis=1).min()) for first, mean in enumerate(means[:-1])
    )
    return separation / radius if radius else None


def _each_cluster(
    x: Floats,  # (N, F)
    labels: Integers,  # (N,)
) -> Iterator[tuple[int, Integers, NDArray[np.float64], NDArray[np.float64]]]:  # label, (n,), (F,), (n,)
    """Yield, by label in use, ascending: the label, its rows, their mean and their distances to it."""
    order = np.argsort(labels, kind="stable")
    used, starts = np.unique(labels[order], return_index=True)
    for label, rows in zip(used, np.split(order, starts[1:]), strict=True):
        mean = x[rows].mean(axis=0, dtype=np.float64)
        yield int(label), rows, mean, np.linalg.norm(x[rows] - mean, axis=1)
