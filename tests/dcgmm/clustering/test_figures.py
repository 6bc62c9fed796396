import json

import numpy as np
import pytest
import torch

from dcgmm.clustering import (
    centroid_dunn_index,
    cluster_figures,
    dunn_index,
    majority_accuracy,
    matched_accuracy,
    purity,
)
from tests.dcgmm.clustering.samples import distances, ints, line


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
