import torch

from dcgmm.clustering import cluster_figures, compare, kmeans_labels
from tests.dcgmm.clustering.samples import ints, line


def test_other_methods_stand_beside_a_clustering_with_as_many_clusters() -> None:
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(30, 4, generator=generator)
    labels = torch.randint(3, (30,), generator=generator) * 2
    classes = torch.arange(30) % 2
    training = (labels[:10], classes[:10])
    compared = compare("mine", points, labels, classes, training, seed=5)
    assert list(compared.methods) == ["mine", "k-means", "scikit-learn GMM"]
    assert compared.methods["mine"] == cluster_figures(points, labels, classes, training)
    assert compared.methods["k-means"] == cluster_figures(points, kmeans_labels(points, 3, 5), classes)
    assert compared.methods["k-means"]["majority_accuracy"] is None
    assert compared.unconverged == []


def test_a_method_that_finds_fewer_clusters_is_told() -> None:
    points, labels = line(0, 0, 0, 1), ints(0, 1, 2, 2)
    assert "k-means" in compare("mine", points, labels, labels).unconverged
