"""Judge a clustering: separation of the clusters, agreement with classes, merging of components, peers.

Shapes: N samples, F features of a sample (pixels or responsibilities), K components, M clusters, G classes.
A cluster is a label in use: labels are any integers, and gaps (components without samples) count nowhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import dist, inf, isqrt
from typing import Any, TypedDict

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from sklearn.mixture import GaussianMixture
from torch import Tensor

from dcgmm_cli.errors import UserError

BLOCK = 1024  # rows and columns of a block of distances: 4 MB in float32, enough for a fast matrix product
CHUNK_VALUES = 1 << 20  # values held at a time where distances are computed pair by pair in float64
WORKING_MEMORY_MIB = 64  # for scikit-learn's blocks of distances, whose default is 1 GiB
UNUSED_WEIGHT = 1e-9  # share of the samples given to a component without any: with 0, all its merges would tie
MIN_VARIANCE = 0.05  # of the peer mixture: the model's own limit, a precision of 20

Floats = NDArray[np.floating[Any]]
Float32s = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class DunnIndex:
    """A Dunn index with the pairs of points (row numbers, smaller first) that attain its two distances."""

    value: float | None  # separation / diameter; None where the diameter is 0
    separation: float  # smallest distance between points of different clusters
    separation_pair: tuple[int, int]
    diameter: float  # largest distance between points of one cluster
    diameter_pair: tuple[int, int] | None  # None where the diameter is 0
    zero_pairs: int  # pairs of equal points in different clusters: with any, separation and value are 0
    value_without_duplicates: float | None  # as value, over pairs at a distance above 0; None where it has none
    separation_without_duplicates: float | None
    separation_pair_without_duplicates: tuple[int, int] | None


class ClusterFigures(TypedDict):
    """All figures of a clustering, ready for JSON: a figure that is not defined is None."""

    clusters: int
    sizes: dict[str, int]  # label: samples, in ascending order of labels
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


# Dunn index, point to point


def dunn_index(
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
) -> DunnIndex:
    """Exact Dunn index: the smallest distance between clusters over the largest diameter of a cluster.

    `min {|x_i - x_j| : l_i != l_j} / max {|x_i - x_j| : l_i = l_j}`, over points, Euclidean.

    Equal points in different clusters make the separation and the index 0; the number of such pairs and the
    index over the other pairs stand beside it. If no cluster holds two different points, the diameter is 0
    and the index is not defined (None).

    Fast: a float32 matrix product a block gives all squared distances, with an error under a proven bound.
    Exact: these only rule out the pairs that the bound shows to lose. Every other pair is computed from the
    float64 difference of its two points as given, and the result comes from those alone.

    Args:
        points: (N, F), finite numbers of any unit.
        labels: (N,), integers.

    Raises:
        UserError: all points in one cluster, or points and labels that do not fit each other.

    Source: Dunn (1973), A fuzzy relative of the ISODATA process; paper §4.3.
    """
    x, clusters = _checked(points, labels)
    _require_two_clusters(clusters, "a Dunn index")
    point = torch.unique(torch.from_numpy(x), dim=0, return_inverse=True)[1].numpy()  # equal points, equal numbers
    rows, zero_pairs, zero_pair = _distinct(point, clusters)
    order = rows[np.argsort(clusters[rows], kind="stable")]  # by label, so that few blocks mix both kinds of pairs
    search = _PairSearch(x, point, order)
    for top, left, squared, same in _blocks(search.unit, clusters[order]):
        if not same.any():
            search.look_between(top, left, squared)
        elif same.all():
            search.look_within(top, left, squared)
        else:
            search.look_between(top, left, np.where(same, np.float32(inf), squared))
            search.look_within(top, left, np.where(same, squared, np.float32(-inf)))

    apart = None if search.least_pair is None else _distance(x, search.least_pair)
    diameter = 0.0 if search.most_pair is None else _distance(x, search.most_pair)
    separation, separation_pair = (apart, search.least_pair) if zero_pair is None else (0.0, zero_pair)
    assert separation is not None, "two clusters have a pair of points between them"
    assert separation_pair is not None
    return DunnIndex(
        value=separation / diameter if diameter else None,
        separation=separation,
        separation_pair=separation_pair,
        diameter=diameter,
        diameter_pair=search.most_pair,
        zero_pairs=zero_pairs,
        value_without_duplicates=apart / diameter if diameter and apart is not None else None,
        separation_without_duplicates=apart,
        separation_pair_without_duplicates=search.least_pair,
    )


def _distinct(
    point: Integers,  # (N,), a number that equal points share
    labels: Integers,  # (N,)
) -> tuple[Integers, int, tuple[int, int] | None]:  # (P,)
    """Return one row per point and cluster, the number of pairs of equal points across clusters, and one such pair.

    Equal points of one cluster add nothing to the search but ties, each of which would be computed exactly.
    """
    used, rank = np.unique(labels, return_inverse=True)
    _, rows, sizes = np.unique(point * len(used) + rank, return_index=True, return_counts=True)
    zero_pairs = (int((np.bincount(point) ** 2).sum()) - int((sizes**2).sum())) // 2
    repeated = np.flatnonzero(point[rows[1:]] == point[rows[:-1]])
    pair = _pair(rows[repeated[0]], rows[repeated[0] + 1]) if len(repeated) else None
    return rows, zero_pairs, pair


def _pair(first: np.int64, second: np.int64) -> tuple[int, int]:
    return int(min(first, second)), int(max(first, second))


def _distance(x: Floats, pair: tuple[int, int]) -> float:
    return dist(x[pair[0]].tolist(), x[pair[1]].tolist())


def _blocks(
    unit: Float32s,  # (N, F), norms up to 1
    labels: Integers,  # (N,), ascending
) -> Iterator[tuple[int, int, Float32s, Booleans]]:
    """Yield blocks of the upper triangle: first row, first column, squared distances, equal labels or not.

    `|a|^2 + |b|^2 - 2 a.b`, not exact; a block on the diagonal holds each pair twice, and points with themselves.
    """
    norms = np.einsum("nf,nf->n", unit, unit, dtype=np.float64).astype(np.float32)
    for top in range(0, len(unit), BLOCK):
        rows = slice(top, top + BLOCK)
        minus_twice = -2 * unit[rows]
        for left in range(top, len(unit), BLOCK):
            columns = slice(left, left + BLOCK)
            squared = minus_twice @ unit[columns].T
            squared += norms[rows, None]
            squared += norms[columns]
            yield top, left, squared, labels[rows, None] == labels[columns]


class _PairSearch:
    """Find the closest two unequal points of different clusters and the farthest two of one, block by block.

    Points are centred, divided by the largest norm R, and rounded to float32: norms are at most 1 and squared
    distances at most 4. With the unit roundoff u = 2^-24 and g = F u / (1 - F u), a float32 scalar product
    errs by at most g, summed in any order (Higham, Accuracy and Stability of Numerical Algorithms, §3.1). A
    squared distance then errs by at most 2 g from the product, 8 u from the rounded points, 9 u from the norms
    and the two sums, and 4 u where it is compared with a limit: `error` = 2 g + 32 u covers these and float64's
    own rounding.
    """

    def __init__(
        self,
        x: Floats,  # (N, F)
        point: Integers,  # (N,), a number that equal points share
        order: Integers,  # (P,): position in the blocks -> row of x
    ) -> None:
        self.x = x
        self.point = point
        self.order = order
        self.unit, self.radius = _unit_ball(x, order)
        roundoff = 2.0**-24
        product = x.shape[1] * roundoff
        self.error = 2 * product / (1 - product) + 32 * roundoff
        # What was found: float64 squared distances in units of R^2, and rows of x.
        self.least = inf
        self.least_pair: tuple[int, int] | None = None
        self.most = 0.0
        self.most_pair: tuple[int, int] | None = None

    def look_between(self, top: int, left: int, squared: Float32s) -> None:
        """Take in a block of pairs of different clusters; an entry that is none holds inf."""
        if squared.min() > self.least + self.error:
            return
        # The best pair that is surely unequal sets a limit, which leaves few candidates.
        unequal = np.where(squared > self.error, squared, np.float32(inf))
        row, column = np.unravel_index(unequal.argmin(), unequal.shape)
        limit = self.least
        if unequal[row, column] < inf:
            limit = min(limit, float(self._exact(self.order[[top + row]], self.order[[left + column]])[0]))
        i, j = np.nonzero(squared <= limit + self.error)
        i, j = self.order[i + top], self.order[j + left]
        differ = self.point[i] != self.point[j]
        i, j = i[differ], j[differ]
        exact = self._exact(i, j)
        if len(exact) and exact.min() < self.least:
            best = exact.argmin()
            self.least, self.least_pair = float(exact[best]), _pair(i[best], j[best])

    def look_within(self, top: int, left: int, squared: Float32s) -> None:
        """Take in a block of pairs of one cluster; an entry that is none holds -inf."""
        row, column = np.unravel_index(squared.argmax(), squared.shape)
        if squared[row, column] < self.most - self.error:
            return
        limit = max(self.most, float(self._exact(self.order[[top + row]], self.order[[left + column]])[0]))
        i, j = np.nonzero(squared >= limit - self.error)
        i, j = self.order[i + top], self.order[j + left]
        exact = self._exact(i, j)
        if exact.max() > self.most:
            best = exact.argmax()
            self.most, self.most_pair = float(exact[best]), _pair(i[best], j[best])

    def _exact(self, i: Integers, j: Integers) -> NDArray[np.float64]:
        """Squared distances of pairs of rows from float64 differences, in units of R^2."""
        exact = np.empty(len(i))
        step = max(1, CHUNK_VALUES // self.x.shape[1])
        for start in range(0, len(i), step):
            part = slice(start, start + step)
            difference = self.x[i[part]].astype(np.float64)
            difference -= self.x[j[part]]
            difference /= self.radius
            exact[part] = np.einsum("pf,pf->p", difference, difference)
        return exact


def _unit_ball(x: Floats, order: Integers) -> tuple[Float32s, float]:
    """Rows in the given order (P,), centred and divided by the largest norm: (P, F), and that norm."""
    center = x.mean(axis=0, dtype=np.float64)
    unit = np.empty((len(order), x.shape[1]), np.float32)
    parts = [slice(start, start + BLOCK) for start in range(0, len(order), BLOCK)]  # no float64 copy of all points
    radius = max(float(np.linalg.norm(x[order[part]] - center, axis=1).max()) for part in parts)
    radius = radius or 1.0  # where all points are equal
    for part in parts:
        unit[part] = (x[order[part]] - center) / radius
    return unit, radius


# Centroids


def cluster_means(
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
) -> tuple[Tensor, Tensor]:  # (M,), (M, F)
    """Return the labels in use, ascending, and the float64 mean of each cluster's points.

    Raises:
        UserError: points and labels that do not fit each other.
    """
    parts = list(_each_cluster(*_checked(points, labels)))
    used, means = [label for label, _, _, _ in parts], [mean for _, _, mean, _ in parts]
    return torch.tensor(used), torch.from_numpy(np.stack(means))


def nearest_to_means(
    points: Tensor,  # (N, F)
    labels: Tensor,  # (N,)
    count: int,
) -> dict[int, Tensor]:
    """Return, by label in use, the rows of the `count` points nearest to their cluster's mean, nearest first.

    A smaller cluster gives all its points.

    Raises:
        UserError: points and labels that do not fit each other, or a count below 1.
    """
    if count < 1:
        raise UserError(f"count {count}: at least 1 sample per cluster can be picked; raise it")
    x, clusters = _checked(points, labels)
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
        UserError: all points in one cluster, or points and labels that do not fit each other.

    Source: the definition of torchmetrics' DunnIndex (p = 2).
    """
    x, clusters = _checked(points, labels)
    _require_two_clusters(clusters, "a Dunn index")
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


# Agreement with classes


def contingency_matrix(
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
) -> Tensor:  # (M, G)
    """Count samples by cluster (rows) and class (columns), both in ascending order of those in use.

    Raises:
        UserError: labels and classes that do not fit each other.
    """
    return torch.from_numpy(_contingency(labels, classes)[2])


def purity(
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
) -> float:
    """Share of samples whose class is the most frequent one of their cluster.

    Each cluster is named after these same samples, so more clusters never give less, and singletons give 1:
    `majority_accuracy` names them after other samples.

    Raises:
        UserError: labels and classes that do not fit each other.
    """
    counts = _contingency(labels, classes)[2]
    return float(counts.max(axis=1).sum() / counts.sum())


def matched_accuracy(
    labels: Tensor,  # (N,)
    classes: Tensor,  # (N,)
) -> float:
    """Share of samples that lie in the cluster matched with their class, under the best one-to-one matching.

    With more clusters than classes the unmatched clusters are all wrong, and the other way round.

    Raises:
        UserError: labels and classes that do not fit each other.
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

    Raises:
        UserError: labels and classes that do not fit each other.
    """
    clusters, truth = _checked_labels(labels, "labels"), _checked_labels(classes, "classes")
    _require_same_length(clusters, truth, "labels", "classes")
    named, kinds, counts = _contingency(training_labels, training_classes)
    names = kinds[counts.argmax(axis=1)]  # (M,)
    place = np.searchsorted(named, clusters).clip(max=len(named) - 1)
    return float(np.mean((named[place] == clusters) & (names[place] == truth)))


def _contingency(labels: Tensor, classes: Tensor) -> tuple[Integers, Integers, Integers]:
    """Clusters in use (M,), classes in use (G,), and the samples counted by both (M, G)."""
    clusters, truth = _checked_labels(labels, "labels"), _checked_labels(classes, "classes")
    _require_same_length(clusters, truth, "labels", "classes")
    used, row = np.unique(clusters, return_inverse=True)
    kinds, column = np.unique(truth, return_inverse=True)
    counts = np.bincount(row * len(kinds) + column, minlength=len(used) * len(kinds))
    return used, kinds, counts.reshape(len(used), len(kinds))


# Merging components


def merge_ward(
    centroids: Tensor,  # (K, F)
    counts: Tensor,  # (K,)
    clusters: int,
    neighbours: Tensor | None = None,  # (K, K)
) -> Tensor:  # (K,)
    """Merge K components to fewer clusters, each time the two that add least to the squares within clusters.

    `n_a n_b / (n_a + n_b) |c_a - c_b|^2`, updated after each merge by the formula of Lance and Williams.

    A component without samples weighs next to nothing: it joins the one nearest to it before others merge.

    Args:
        centroids: (K, F), of the components.
        counts: (K,), samples or weight of each component, not negative, not all 0.
        clusters: how many are to remain, 1 to K.
        neighbours: (K, K) booleans, symmetric and connected: which components may merge (`torus_neighbours`);
            a merged pair has the neighbours of both. None: any two may.

    Returns:
        (K,) the new label of each component, 0 to clusters - 1, in order of each cluster's first component.

    Raises:
        UserError: a number of clusters outside 1 to K, or weights that fit no components.

    Source: Ward (1963), Hierarchical grouping to optimize an objective function.
    """
    centers = _checked_points(centroids).astype(np.float64)
    components = len(centers)
    if not 1 <= clusters <= components:
        raise UserError(f"{components} components cannot be merged to {clusters} clusters: choose 1 to {components}")
    n = counts.detach().cpu().to(torch.float64).numpy().copy()
    if n.shape != (components,) or not (np.isfinite(n) & (n >= 0)).all() or n.sum() == 0:
        raise UserError(f"counts of shape {tuple(n.shape)} for {components} components: give one each, not all 0")
    n[n == 0] = UNUSED_WEIGHT * n.sum()
    may_merge = np.ones((components, components), bool)
    if neighbours is not None:
        may_merge = neighbours.detach().cpu().numpy().copy()
    np.fill_diagonal(may_merge, False)

    cost = np.outer(n, n) / np.add.outer(n, n) * cdist(centers, centers, "sqeuclidean")
    label = np.arange(components)
    for _ in range(components - clusters):
        assert may_merge.any(), "neighbours connect all components"
        a, b = np.unravel_index(np.where(may_merge, cost, inf).argmin(), cost.shape)  # a < b: the first of both
        merged = ((n[a] + n) * cost[a] + (n[b] + n) * cost[b] - n * cost[a, b]) / (n[a] + n[b] + n)
        cost[a], cost[:, a] = merged, merged
        n[a] += n[b]
        may_merge[a] |= may_merge[b]
        may_merge[:, a] = may_merge[a]
        may_merge[b], may_merge[:, b], may_merge[a, a] = False, False, False
        label[label == b] = a
    return torch.from_numpy(np.unique(label, return_inverse=True)[1])


def torus_neighbours(components: int) -> Tensor:  # (K, K)
    """Return which components touch, side by side, on the toroidal sqrt(K) x sqrt(K) grid, row by row.

    Raises:
        UserError: a number of components that is no square number.
    """
    side = isqrt(max(components, 0))
    if components < 1 or side * side != components:
        raise UserError(f"{components} components form no square grid: use a square number (1, 4, 9, 16, 25, 36, ...)")
    cells = torch.arange(components).reshape(side, side)
    touch = torch.zeros(components, components, dtype=torch.bool)
    for axis in (0, 1):
        beside = cells.roll(1, dims=axis)
        touch[cells, beside] = True
        touch[beside, cells] = True
    return touch.fill_diagonal_(False)


# Peers


def kmeans_labels(
    points: Tensor,  # (N, F)
    clusters: int,
    seed: int,
) -> Tensor:  # (N,)
    """Assign each point by k-means (scikit-learn, k-means++ start).

    Raises:
        UserError: fewer points than clusters, or no cluster.
    """
    x = _checked_points(points)
    _require_enough(x, clusters)
    fitted = KMeans(n_clusters=clusters, n_init=1, random_state=seed).fit_predict(x)
    return torch.from_numpy(fitted.astype(np.int64))


def gaussian_mixture_labels(
    points: Tensor,  # (N, F)
    clusters: int,
    seed: int,
) -> Tensor:  # (N,)
    """Assign each point to its most likely component of a flat mixture fitted by EM (scikit-learn, diagonal).

    Raises:
        UserError: fewer points than clusters, or no cluster.
    """
    x = _checked_points(points).astype(np.float64)
    _require_enough(x, clusters)
    mixture = GaussianMixture(clusters, covariance_type="diag", reg_covar=MIN_VARIANCE, random_state=seed)
    return torch.from_numpy(mixture.fit_predict(x).astype(np.int64))


# All figures


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
        UserError: arguments that do not fit each other.
    """
    x, clusters = _checked(points, labels)
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
        truth = _checked_labels(classes, "classes")
        figures["nmi"] = float(normalized_mutual_info_score(truth, clusters))
        figures["adjusted_rand"] = float(adjusted_rand_score(truth, clusters))
        if training is not None:
            figures["majority_accuracy"] = majority_accuracy(labels, classes, *training)
    return figures


# What is given


def _checked(points: Tensor, labels: Tensor) -> tuple[Floats, Integers]:
    x, clusters = _checked_points(points), _checked_labels(labels, "labels")
    _require_same_length(x, clusters, "points", "labels")
    return x, clusters


def _checked_points(points: Tensor) -> Floats:
    """Points as float32, or float64 where float32 does not hold their values."""
    if points.ndim != 2 or points.numel() == 0:
        raise UserError(f"points of shape {tuple(points.shape)}: give samples x features, at least one of each")
    wide = points.dtype in (torch.float64, torch.int32, torch.int64)
    x: Floats = points.detach().cpu().to(torch.float64 if wide else torch.float32).numpy()
    if not np.isfinite(x).all():
        raise UserError("points with a value that is not finite (NaN or infinite): clusters need finite values")
    return x


def _checked_labels(labels: Tensor, name: str) -> Integers:
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise UserError(f"{name} of shape {tuple(labels.shape)} and type {labels.dtype}: give one integer a sample")
    return labels.detach().cpu().to(torch.int64).numpy()


def _require_same_length(first: NDArray[Any], second: NDArray[Any], first_name: str, second_name: str) -> None:
    if len(first) != len(second):
        raise UserError(f"{len(first)} {first_name} and {len(second)} {second_name}: give as many of both")


def _require_two_clusters(labels: Integers, figure: str) -> None:
    if labels.min() == labels.max():
        raise UserError(
            f"all {len(labels)} samples are in one cluster (label {labels[0]}): {figure} needs at least 2; "
            "take more samples or another layer"
        )


def _require_enough(x: Floats, clusters: int) -> None:
    if not 1 <= clusters <= len(x):
        raise UserError(f"{clusters} clusters of {len(x)} samples: choose 1 to {len(x)} clusters, or more samples")
