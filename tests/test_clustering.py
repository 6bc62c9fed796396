import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from dcgmm_cli import clustering
from dcgmm_cli.clustering import (
    centroid_dunn_index,
    cluster_figures,
    cluster_means,
    contingency_matrix,
    dunn_index,
    gaussian_mixture_labels,
    kmeans_labels,
    majority_accuracy,
    matched_accuracy,
    merge_ward,
    nearest_to_means,
    purity,
    torus_neighbours,
)
from dcgmm_cli.errors import UserError

Matrix = NDArray[np.float64]


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def ints(*values: int) -> Tensor:
    return torch.tensor(values)


def distances(points: Tensor) -> Matrix:
    x = points.double().numpy()
    return np.stack([np.sqrt(((x - row) ** 2).sum(axis=1)) for row in x])


def same_partition(first: Tensor, second: NDArray[np.int64]) -> bool:
    return bool(adjusted_rand_score(first.numpy(), second) == 1.0)


def check_against_reference(points: Tensor, labels: Tensor) -> None:
    """Compare with the definition, over the whole float64 matrix of distances."""
    d = distances(points)
    same = labels.numpy()[:, None] == labels.numpy()
    between, within = d[~same], d[same]
    found = dunn_index(points, labels)

    assert found.separation == pytest.approx(between.min(), rel=1e-14, abs=0)
    assert found.diameter == pytest.approx(within.max(), rel=1e-14, abs=0)
    assert found.value == pytest.approx(between.min() / within.max(), rel=1e-14, abs=0)
    assert found.zero_pairs == (between == 0).sum() // 2
    above = between[between > 0].min()
    assert found.separation_without_duplicates == pytest.approx(above, rel=1e-14, abs=0)
    assert found.value_without_duplicates == pytest.approx(above / within.max(), rel=1e-14, abs=0)

    assert found.diameter_pair is not None
    assert found.separation_pair_without_duplicates is not None
    for (i, j), distance, one_cluster in (
        (found.separation_pair, found.separation, False),
        (found.diameter_pair, found.diameter, True),
        (found.separation_pair_without_duplicates, above, False),
    ):
        assert i < j
        assert same[i, j] == one_cluster
        assert d[i, j] == pytest.approx(distance, rel=1e-14, abs=0)


# Dunn index, point to point


def test_dunn_index_by_hand() -> None:
    found = dunn_index(line(7, 0, 5, 1), ints(4, 9, 4, 9))

    assert asdict(found) == {
        "value": 2.0,
        "separation": 4.0,
        "separation_pair": (2, 3),
        "diameter": 2.0,
        "diameter_pair": (0, 2),
        "zero_pairs": 0,
        "value_without_duplicates": 2.0,
        "separation_without_duplicates": 4.0,
        "separation_pair_without_duplicates": (2, 3),
    }


def test_equal_points_in_two_clusters_make_the_index_zero_and_are_counted() -> None:
    # 1 lies twice in cluster 0, and once in each of clusters 1 and 2: 2 + 2 + 1 pairs.
    found = dunn_index(line(0, 1, 1, 1, 4, 1), ints(0, 0, 0, 1, 1, 2))

    assert found.value == found.separation == 0.0
    assert found.zero_pairs == 5
    i, j = found.separation_pair
    assert {i, j} < {1, 2, 3, 5}
    assert {i, j} != {1, 2}
    assert found.separation_without_duplicates == 1.0
    assert found.diameter == 3.0
    assert found.value_without_duplicates == pytest.approx(1 / 3, rel=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [1, 3, 50])
@pytest.mark.parametrize("block", [1, 7, 1024])
def test_dunn_index_equals_the_definition_on_awkward_sets(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, features: int, block: int
) -> None:
    monkeypatch.setattr(clustering, "BLOCK", block)
    monkeypatch.setattr(clustering, "CHUNK_VALUES", 60)
    generator = torch.Generator().manual_seed(features)
    points = torch.randn(61, features, generator=generator, dtype=dtype)
    labels = ints(-3, 0, 7, 100)[torch.randint(4, (61,), generator=generator)]
    check_against_reference(points, labels)

    labels[10] = 5  # a cluster of one
    points[20:26] = points[0:6]  # equal points, in the same cluster or not
    points[26] = points[0]
    check_against_reference(points, labels)


def test_dunn_index_over_several_whole_blocks() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2500, 6, generator=generator)
    check_against_reference(points, torch.randint(3, (2500,), generator=generator))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("block", [8, 1024])
def test_dunn_index_orders_near_duplicates_that_a_float32_product_cannot(
    monkeypatch: pytest.MonkeyPatch, block: int, offset: float
) -> None:
    monkeypatch.setattr(clustering, "BLOCK", block)
    generator = torch.Generator().manual_seed(2)
    originals = torch.rand(40, 300, generator=generator, dtype=torch.float64) + offset
    steps = torch.randn(40, 300, generator=generator, dtype=torch.float64)
    steps *= torch.linspace(1, 2, 40, dtype=torch.float64)[torch.randperm(40, generator=generator), None]
    points = torch.cat([originals, originals + 1e-6 * steps])
    check_against_reference(points, torch.arange(80) // 40)


@pytest.mark.parametrize("block", [2, 8, 1024])
def test_dunn_index_orders_nearly_equal_diameters(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(clustering, "BLOCK", block)
    # 60 points of cluster 0 lie on opposite sides of a sphere, their distances differ in the eighth digit.
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(torch.randn(30, 20, generator=generator, dtype=torch.float64))
    radii = 1 + 1e-8 * torch.rand(30, 1, generator=generator, dtype=torch.float64)
    points = torch.cat([directions * radii, -directions * radii, torch.full((1, 20), 5.0, dtype=torch.float64)])
    check_against_reference(points, (torch.arange(61) == 60).long())


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_dunn_index_takes_values_of_any_size(scale: float) -> None:
    generator = torch.Generator().manual_seed(4)
    points = torch.rand(30, 4, generator=generator, dtype=torch.float64) * scale
    check_against_reference(points, torch.arange(30) % 3)


def test_dunn_index_takes_bytes_as_they_are() -> None:
    generator = torch.Generator().manual_seed(5)
    points = torch.randint(0, 256, (50, 9), generator=generator, dtype=torch.uint8)
    check_against_reference(points, torch.arange(50) % 4)


@pytest.mark.parametrize("features", [1, 36, 784])
def test_approximate_distances_stay_within_their_bound(features: int) -> None:
    generator = torch.Generator().manual_seed(6)
    images = torch.rand(200, features, generator=generator) * (torch.rand(200, 1, generator=generator) > 0.3) + 3
    x, order = images.numpy(), np.random.default_rng(6).permutation(200)
    search = clustering._PairSearch(x, np.arange(200), order)
    ((_, _, squared, _),) = clustering._blocks(search.unit, np.zeros(200, np.int64))

    exact = (distances(images) / search.radius) ** 2
    error = np.abs(squared - exact[np.ix_(order, order)]).max()
    assert 0 < error < search.error


def test_without_any_diameter_the_index_is_not_defined() -> None:
    singletons = dunn_index(line(0, 2, 5), ints(0, 1, 2))
    assert (singletons.value, singletons.value_without_duplicates) == (None, None)
    assert (singletons.separation, singletons.separation_pair) == (2.0, (0, 1))
    assert (singletons.diameter, singletons.diameter_pair) == (0.0, None)

    equal = dunn_index(torch.ones(6, 4), ints(0, 0, 0, 1, 1, 2))
    assert (equal.value, equal.separation, equal.separation_without_duplicates) == (None, 0.0, None)
    assert equal.zero_pairs == 3 * 2 + 3 * 1 + 2 * 1


@pytest.mark.parametrize("index", [dunn_index, centroid_dunn_index])
def test_a_single_cluster_has_no_dunn_index(index: object) -> None:
    assert callable(index)
    with pytest.raises(UserError, match=r"all 3 samples are in one cluster \(label 8\).*at least 2"):
        index(line(0, 1, 2), ints(8, 8, 8))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_dunn_index_of_10000_images_is_fast_and_small() -> None:
    script = """
import time, torch
from dcgmm_cli.clustering import dunn_index
torch.manual_seed(0)
points, labels = torch.rand(10_000, 784), torch.randint(25, (10_000,))
start = time.process_time()
dunn_index(points, labels)
print(time.process_time() - start, *(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM")))
"""
    two_cores = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=two_cores)
    cpu_seconds, peak_kib = map(float, run.stdout.split())
    assert cpu_seconds < 6  # of both cores together, so that what else runs on the machine counts little
    assert peak_kib / 1024 < 600


# Centroids


def test_centroid_dunn_index_by_hand() -> None:
    # Means 1, 11 and 30; radii 1, 2 and 0.
    points, labels = line(0, 2, 9, 11, 13, 30), ints(5, 5, 2, 2, 2, 9)
    assert centroid_dunn_index(points, labels) == 5.0
    assert centroid_dunn_index(points, torch.arange(6)) is None


def test_cluster_means_and_the_points_nearest_to_them() -> None:
    points, labels = line(0, 9, 1, 6, 5), ints(7, 3, 7, 3, 7)

    used, means = cluster_means(points, labels)
    assert used.tolist() == [3, 7]
    torch.testing.assert_close(means, line(7.5, 2))

    nearest = nearest_to_means(points, labels, 2)
    assert {label: rows.tolist() for label, rows in nearest.items()} == {3: [1, 3], 7: [2, 0]}
    assert nearest_to_means(points, labels, 9)[7].tolist() == [2, 0, 4]
    with pytest.raises(UserError, match="count 0"):
        nearest_to_means(points, labels, 0)


# Agreement with classes


def test_agreement_by_hand() -> None:
    labels, classes = ints(4, 4, 4, 0, 0, 9, 9), ints(1, 1, 2, 1, 2, 2, 2)

    assert contingency_matrix(labels, classes).tolist() == [[1, 1], [2, 1], [0, 2]]
    assert purity(labels, classes) == pytest.approx(5 / 7)
    assert matched_accuracy(labels, classes) == pytest.approx(4 / 7)  # cluster 4 with class 1, 9 with 2, 0 with none


@pytest.mark.parametrize(("clusters", "kinds"), [(3, 5), (4, 4), (5, 3)])
def test_matched_accuracy_is_the_best_of_all_matchings(clusters: int, kinds: int) -> None:
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(clusters, (40,), generator=generator)
    classes = torch.randint(kinds, (40,), generator=generator)
    counts = contingency_matrix(labels, classes).numpy()
    few = counts if clusters <= kinds else counts.T
    best = max(
        sum(few[row, column] for row, column in enumerate(columns))
        for columns in itertools.permutations(range(few.shape[1]), few.shape[0])
    )
    assert matched_accuracy(labels, classes) == pytest.approx(best / 40)


def test_majority_accuracy_takes_the_names_from_the_training_samples() -> None:
    training = ints(0, 0, 0, 2, 2), ints(5, 5, 6, 7, 6)  # cluster 0 is 5; 2 is 6, the smaller of a tie
    labels, classes = ints(0, 0, 2, 2, 1, 3), ints(5, 6, 6, 7, 6, 6)  # 1 and 3 have no name

    assert majority_accuracy(labels, classes, *training) == pytest.approx(2 / 6)
    assert majority_accuracy(labels, classes, labels, classes) == purity(labels, classes)


# Merging components


@pytest.mark.parametrize("clusters", [1, 2, 7, 24, 25])
@pytest.mark.parametrize("on_grid", [False, True])
def test_equal_weights_merge_as_scikit_learns_ward(clusters: int, on_grid: bool) -> None:
    centroids = torch.randn(25, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    neighbours = torus_neighbours(25) if on_grid else None
    ours = merge_ward(centroids, torch.full((25,), 3), clusters, neighbours)
    theirs = AgglomerativeClustering(
        clusters, connectivity=None if neighbours is None else neighbours.numpy(), linkage="ward"
    ).fit_predict(centroids.numpy())

    assert same_partition(ours, theirs)
    first_components = [ours.tolist().index(label) for label in range(clusters)]
    assert first_components == sorted(first_components)
    assert int(ours.max()) == clusters - 1


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_weights_merge_as_that_many_copies_do(clusters: int) -> None:
    generator = torch.Generator().manual_seed(9)
    centroids = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    counts = torch.randint(1, 12, (20,), generator=generator)
    copies = centroids.repeat_interleave(counts, dim=0).numpy()
    theirs = AgglomerativeClustering(clusters, linkage="ward").fit_predict(copies)
    first_copy = (counts.cumsum(0) - counts).numpy()

    assert same_partition(merge_ward(centroids, counts, clusters), theirs[first_copy])


def test_light_components_merge_before_nearer_heavy_ones() -> None:
    # Costs by hand: 100*100/200 * 9 = 450 against 100*1/101 * 16 = 15.8.
    assert merge_ward(line(0, 3, 7), ints(100, 100, 1), 2).tolist() == [0, 1, 1]
    assert merge_ward(line(0, 3, 7), ints(1, 1, 1), 2).tolist() == [0, 0, 1]


def test_an_unused_component_joins_the_one_nearest_to_it_first() -> None:
    centroids, counts = line(0, 100, 1, 60), ints(50, 50, 50, 0)
    assert merge_ward(centroids, counts, 3).tolist() == [0, 1, 2, 1]
    assert merge_ward(centroids, counts, 2).tolist() == [0, 1, 0, 1]


def test_grid_neighbours_keep_distant_components_apart() -> None:
    # Components 0 and 5 of a 3 x 3 torus are equal but not neighbours; 0 touches 1, 2, 3 and 6.
    centroids = line(0, 10, 20, 30, 40, 0, 60, 70, 80)
    assert merge_ward(centroids, torch.ones(9), 8).tolist() == [0, 1, 2, 3, 4, 0, 5, 6, 7]
    on_grid = merge_ward(centroids, torch.ones(9), 8, torus_neighbours(9))
    assert on_grid.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7]


def test_torus_neighbours() -> None:
    touch = torus_neighbours(25)
    assert touch[0].nonzero().flatten().tolist() == [1, 4, 5, 20]
    assert touch[18].nonzero().flatten().tolist() == [13, 17, 19, 23]
    assert touch.equal(touch.T)
    assert set(touch.sum(dim=1).tolist()) == {4}
    assert torus_neighbours(4).long().tolist() == [[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]
    assert torus_neighbours(1).tolist() == [[False]]
    for components in (0, -4, 10):
        with pytest.raises(UserError, match=f"{components} components form no square grid"):
            torus_neighbours(components)


@pytest.mark.parametrize("clusters", [0, 5])
def test_merging_names_what_is_possible(clusters: int) -> None:
    with pytest.raises(UserError, match=f"4 components cannot be merged to {clusters} clusters: choose 1 to 4"):
        merge_ward(line(0, 1, 2, 3), torch.ones(4), clusters)


@pytest.mark.parametrize("counts", [[1.0, 2.0], [0.0, 0.0, 0.0], [1.0, -1.0, 2.0], [1.0, float("nan"), 1.0]])
def test_merging_rejects_weights_that_fit_no_components(counts: list[float]) -> None:
    with pytest.raises(UserError, match="3 components"):
        merge_ward(line(0, 1, 2), torch.tensor(counts), 2)


# Peers


def blobs(spread: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(10)
    truth = torch.arange(90) % 3
    return torch.eye(3)[truth] * 10 + spread * torch.randn(90, 3, generator=generator), truth


@pytest.mark.parametrize("peer", [kmeans_labels, gaussian_mixture_labels])
def test_peers_find_clear_clusters_and_repeat_themselves(peer: object) -> None:
    assert callable(peer)
    points, truth = blobs(0.1)
    labels = peer(points, 3, seed=0)
    assert labels.dtype == torch.int64
    assert same_partition(labels, truth.numpy())

    points, _ = blobs(20)
    first, again, other = peer(points, 6, seed=0), peer(points, 6, seed=0), peer(points, 6, seed=1)
    assert first.equal(again)
    assert not first.equal(other)
    for clusters in (0, 91):
        with pytest.raises(UserError, match=f"{clusters} clusters of 90 samples: choose 1 to 90"):
            peer(points, clusters, seed=0)


# All figures


def test_figures_follow_their_definitions() -> None:
    generator = torch.Generator().manual_seed(11)
    points = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    labels = ints(2, 5, 11)[torch.randint(3, (40,), generator=generator)]
    classes = torch.randint(4, (40,), generator=generator)
    figures = cluster_figures(points, labels, classes, training=(labels[:20], classes[:20]))

    x, clusters, d = points.numpy(), labels.numpy(), distances(points)
    used = [2, 5, 11]
    means = np.stack([x[clusters == label].mean(axis=0) for label in used])
    spread = [np.linalg.norm(x[clusters == label] - mean, axis=1) for label, mean in zip(used, means, strict=True)]
    sizes = np.array([len(s) for s in spread])
    davies_bouldin = np.mean(
        [
            max((spread[a].mean() + spread[b].mean()) / np.linalg.norm(means[a] - means[b]) for b in range(3) if b != a)
            for a in range(3)
        ]
    )
    silhouettes = []
    for i in range(40):
        own = d[i, clusters == clusters[i]].sum() / (np.sum(clusters == clusters[i]) - 1)
        other = min(d[i, clusters == label].mean() for label in used if label != clusters[i])
        silhouettes.append((other - own) / max(own, other))
    between = (sizes * ((means - x.mean(axis=0)) ** 2).sum(axis=1)).sum() / (3 - 1)
    within = sum((s**2).sum() for s in spread) / (40 - 3)

    assert figures["clusters"] == 3
    assert figures["sizes"] == {"2": sizes[0], "5": sizes[1], "11": sizes[2]}
    assert figures["davies_bouldin"] == pytest.approx(davies_bouldin)
    assert figures["silhouette"] == pytest.approx(np.mean(silhouettes))
    assert figures["calinski_harabasz"] == pytest.approx(between / within)
    dunn = dunn_index(points, labels)
    assert figures["separation"] == dunn.separation
    assert figures["diameter"] == dunn.diameter
    assert figures["dunn"] == figures["dunn_without_duplicates"] == dunn.value
    assert figures["zero_pairs"] == 0
    assert figures["dunn_centroid"] == centroid_dunn_index(points, labels)
    assert figures["purity"] == purity(labels, classes)
    assert figures["accuracy"] == matched_accuracy(labels, classes)
    assert figures["majority_accuracy"] == majority_accuracy(labels, classes, labels[:20], classes[:20])


def test_agreement_figures_know_perfect_and_independent_labels() -> None:
    points, labels = line(0, 1, 10, 11), ints(3, 3, 8, 8)
    perfect = cluster_figures(points, labels, ints(1, 1, 0, 0))
    assert (perfect["nmi"], perfect["adjusted_rand"], perfect["accuracy"]) == (1.0, 1.0, 1.0)
    independent = cluster_figures(points, labels, ints(0, 1, 0, 1))
    assert independent["nmi"] == pytest.approx(0, abs=1e-12)
    assert independent["adjusted_rand"] == pytest.approx(-0.5)
    assert independent["majority_accuracy"] is None


UNDEFINED = {
    "one cluster": (line(0, 1, 2), ints(4, 4, 4)),
    "one sample": (line(3), ints(0)),
    "every sample a cluster": (line(0, 1, 3), ints(0, 1, 2)),
    "clusters of equal points": (line(0, 0, 3, 3), ints(0, 0, 1, 1)),
    "all points equal": (torch.ones(4, 2), ints(0, 0, 1, 1)),
}
DEFINED = {
    "one cluster": set(),
    "one sample": set(),
    "every sample a cluster": {"zero_pairs", "separation", "diameter"},
    "clusters of equal points": {"zero_pairs", "separation", "diameter", "davies_bouldin", "silhouette"},
    "all points equal": {"zero_pairs", "separation", "diameter", "davies_bouldin", "silhouette"},
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_figures_that_are_not_defined_are_none_and_the_rest_is_json(case: str) -> None:
    points, labels = UNDEFINED[case]
    figures = json.loads(json.dumps(cluster_figures(points, labels), allow_nan=False))

    assert figures["clusters"] == len(set(labels.tolist()))
    assert sum(figures["sizes"].values()) == len(points)
    assert {key for key, value in figures.items() if value is not None} - {"clusters", "sizes"} == DEFINED[case]


# What is given


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (torch.ones(3), ints(0, 1, 1), r"points of shape \(3,\)"),
        (torch.ones(0, 4), torch.ones(0, dtype=torch.int64), r"points of shape \(0, 4\)"),
        (torch.ones(3, 0), ints(0, 1, 1), r"points of shape \(3, 0\)"),
        (torch.tensor([[0.0], [float("nan")]]), ints(0, 1), "not finite"),
        (torch.tensor([[0.0], [float("inf")]]), ints(0, 1), "not finite"),
        (torch.ones(3, 2), ints(0, 1), "3 points and 2 labels"),
        (torch.ones(3, 2), torch.ones(3), r"labels of shape \(3,\) and type torch.float32"),
        (torch.ones(3, 2), torch.ones(3, 1, dtype=torch.int64), r"labels of shape \(3, 1\)"),
    ],
)
def test_what_is_no_clustering_is_rejected(points: Tensor, labels: Tensor, message: str) -> None:
    for judge in (dunn_index, centroid_dunn_index, cluster_means, cluster_figures):
        with pytest.raises(UserError, match=message):
            judge(points, labels)


def test_classes_that_do_not_fit_are_rejected() -> None:
    for agreement in (contingency_matrix, purity, matched_accuracy):
        with pytest.raises(UserError, match="3 labels and 2 classes"):
            agreement(ints(0, 1, 1), ints(0, 1))
    with pytest.raises(UserError, match="3 labels and 2 classes"):
        majority_accuracy(ints(0, 1, 1), ints(0, 1), ints(0), ints(0))
    with pytest.raises(UserError, match="classes of shape"):
        purity(ints(0, 1), torch.ones(2))
