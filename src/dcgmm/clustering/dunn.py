"""The Dunn index, point to point: exact, and fast on images."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import dist, inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.clustering.points import Floats, Integers, checked, require_two_clusters

BLOCK = 1024  # rows and columns of a block of distances: 4 MB in float32, enough for a fast matrix product
GPU_BLOCK = 8192  # 256 MB
CHUNK_VALUES = 1 << 20  # values held at a time where distances are computed pair by pair in float64

Float32s = NDArray[np.float32]


@dataclass(frozen=True)
class DunnIndex:
    """A Dunn index, with the pairs of points (row numbers, smaller first) that attain its two distances.

    Attributes:
        value: separation / diameter; None where the diameter is 0.
        separation: smallest distance between points of different clusters.
        separation_pair: such a pair.
        diameter: largest distance between points of one cluster.
        diameter_pair: such a pair; None where the diameter is 0.
        zero_pairs: pairs of equal points in different clusters: with any, separation and value are 0.
        value_without_duplicates: as value, over pairs at a distance above 0; None where it has none.
        separation_without_duplicates: the same, of the separation.
        separation_pair_without_duplicates: the same, of its pair.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [2.0], [7.0], [7.0]]), torch.tensor([0, 0, 0, 1])
        >>> found = dcgmm.clustering.dunn_index(points, labels)
        >>> found.value, found.zero_pairs, found.separation_without_duplicates, found.diameter_pair
        (0.0, 1, 5.0, (0, 2))
    """

    value: float | None
    separation: float
    separation_pair: tuple[int, int]
    diameter: float
    diameter_pair: tuple[int, int] | None
    zero_pairs: int
    value_without_duplicates: float | None
    separation_without_duplicates: float | None
    separation_pair_without_duplicates: tuple[int, int] | None


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
    float64 difference of its two points as given, and the result comes from those alone. The product is made where
    the points are, the differences on the CPU: the figures are the same bits on a GPU.

    Args:
        points: (N, F), finite numbers of any unit.
        labels: (N,), integers.

    Raises:
        InputError: all points in one cluster, or points and labels that do not fit each other.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [2.0], [7.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> dcgmm.clustering.dunn_index(points, labels).value
        2.5

    Source: Dunn (1973), A fuzzy relative of the ISODATA process; paper §4.3.
    """
    x, clusters = checked(points, labels)
    require_two_clusters(clusters, "a Dunn index")
    point = torch.unique(torch.from_numpy(x), dim=0, return_inverse=True)[1].numpy()  # equal points, equal numbers
    rows, zero_pairs, zero_pair = _distinct(point, clusters)
    order = rows[np.argsort(clusters[rows], kind="stable")]  # by label, so that few blocks mix both kinds of pairs
    search = _PairSearch(x, point, order, points.device)
    with _whole_factors():
        for top, left, squared, same in _blocks(search.unit, search.norms, clusters[order]):
            if same is False:
                search.look_between(top, left, squared)
            elif same is True:
                search.look_within(top, left, squared)
            else:
                search.look_between(top, left, torch.where(same, inf, squared))
                search.look_within(top, left, torch.where(same, squared, -inf))

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


@contextlib.contextmanager
def _whole_factors() -> Iterator[None]:
    """No product of factors that torch is allowed to shorten: the bound on the error is of float32 as such."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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
    unit: Tensor,  # (N, F)
    norms: Tensor,  # (N,), squared, up to 1
    labels: Integers,  # (N,), ascending
) -> Iterator[tuple[int, int, Tensor, Tensor | bool]]:
    """Yield blocks of the upper triangle: first row, first column, squared distances, equal labels or not.

    `|a|^2 + |b|^2 - 2 a.b`, not exact; a block on the diagonal holds each pair twice, and points with themselves.
    """
    own = torch.from_numpy(labels).to(unit.device)
    size = BLOCK if unit.device.type == "cpu" else GPU_BLOCK
    for top in range(0, len(unit), size):
        rows = slice(top, top + size)
        minus_twice = -2 * unit[rows]
        for left in range(top, len(unit), size):
            columns = slice(left, left + size)
            squared = minus_twice @ unit[columns].mT
            squared += norms[rows, None]
            squared += norms[columns]
            first, last = labels[rows][[0, -1]], labels[columns][[0, -1]]
            if first[-1] < last[0]:
                yield top, left, squared, False
            elif first[0] == last[-1]:
                yield top, left, squared, True
            else:
                yield top, left, squared, own[rows, None] == own[columns]


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
        device: torch.device,  # of the blocks
    ) -> None:
        self.x = x
        self.point = point
        self.order = order
        unit, self.radius = _unit_ball(x, order)
        norms = np.einsum("nf,nf->n", unit, unit, dtype=np.float64).astype(np.float32)
        self.unit, self.norms = (torch.from_numpy(each).to(device) for each in (unit, norms))
        roundoff = 2.0**-24
        product = x.shape[1] * roundoff
        self.error = 2 * product / (1 - product) + 32 * roundoff
        # What was found: float64 squared distances in units of R^2, and rows of x.
        self.least = inf
        self.least_pair: tuple[int, int] | None = None
        self.most = 0.0
        self.most_pair: tuple[int, int] | None = None

    def look_between(self, top: int, left: int, squared: Tensor) -> None:
        """Take in a block of pairs of different clusters; an entry that is none holds inf."""
        if squared.amin() > self.least + self.error:
            return
        # The best pair that is surely unequal sets a limit, which leaves few candidates.
        unequal = torch.where(squared > self.error, squared, inf)
        limit = self.least
        if unequal.amin() < inf:
            limit = min(limit, self._exact_at(top, left, unequal.argmin(), squared.shape[1]))
        i, j = self._pairs(top, left, squared <= limit + self.error)
        differ = self.point[i] != self.point[j]
        i, j = i[differ], j[differ]
        exact = self._exact(i, j)
        if len(exact) and exact.min() < self.least:
            best = exact.argmin()
            self.least, self.least_pair = float(exact[best]), _pair(i[best], j[best])

    def look_within(self, top: int, left: int, squared: Tensor) -> None:
        """Take in a block of pairs of one cluster; an entry that is none holds -inf."""
        if squared.amax() < self.most - self.error:
            return
        limit = max(self.most, self._exact_at(top, left, squared.argmax(), squared.shape[1]))
        i, j = self._pairs(top, left, squared >= limit - self.error)
        exact = self._exact(i, j)
        if exact.max() > self.most:
            best = exact.argmax()
            self.most, self.most_pair = float(exact[best]), _pair(i[best], j[best])

    def _pairs(self, top: int, left: int, chosen: Tensor) -> tuple[Integers, Integers]:  # rows of x
        i, j = chosen.nonzero().cpu().numpy().T
        return self.order[i + top], self.order[j + left]

    def _exact_at(self, top: int, left: int, place: Tensor, columns: int) -> float:
        row, column = divmod(int(place), columns)
        return float(self._exact(self.order[[top + row]], self.order[[left + column]])[0])

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
