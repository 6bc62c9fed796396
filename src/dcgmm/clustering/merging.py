"""Merging components to fewer clusters."""

from math import inf, isqrt

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from dcgmm.clustering.points import checked_points
from dcgmm.errors import InputError

UNUSED_WEIGHT = 1e-9  # share of the samples given to a component without any: with 0, all its merges would tie


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
        InputError: a number of clusters outside 1 to K, or weights that fit no components.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> centroids, counts = torch.tensor([[0.0], [1.0], [9.0], [8.0]]), torch.tensor([5, 1, 2, 2])
        >>> merged = dcgmm.clustering.merge_ward(centroids, counts, clusters=2)
        >>> merged[torch.tensor([3, 0, 1])].tolist()  # of samples that lie in components 3, 0 and 1
        [1, 0, 0]

    Source: Ward (1963), Hierarchical grouping to optimize an objective function.
    """
    centers = checked_points(centroids).astype(np.float64)
    components = len(centers)
    if not 1 <= clusters <= components:
        raise InputError(f"{components} components cannot be merged to {clusters} clusters: choose 1 to {components}")
    n = counts.detach().cpu().to(torch.float64).numpy().copy()
    if n.shape != (components,) or not (np.isfinite(n) & (n >= 0)).all() or n.sum() == 0:
        raise InputError(f"counts of shape {tuple(n.shape)} for {components} components: give one each, not all 0")
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
    """Which components touch, side by side, on the toroidal sqrt(K) x sqrt(K) grid that they lie on row by row.

    Args:
        components: K.

    Returns:
        (K, K) booleans, symmetric, none beside itself.

    Raises:
        InputError: a number of components that is no square number.

    Examples:
        >>> import dcgmm
        >>> dcgmm.clustering.torus_neighbours(9)[0].nonzero().flatten().tolist()  # beside the corner of a 3x3 grid
        [1, 2, 3, 6]
    """
    side = isqrt(max(components, 0))
    if components < 1 or side * side != components:
        raise InputError(f"{components} components form no square grid: use a square number (1, 4, 9, 16, 25, 36, ...)")
    cells = torch.arange(components).reshape(side, side)
    touch = torch.zeros(components, components, dtype=torch.bool)
    for axis in (0, 1):
        beside = cells.roll(1, dims=axis)
        touch[cells, beside] = True
        touch[beside, cells] = True
    return touch.fill_diagonal_(False)
