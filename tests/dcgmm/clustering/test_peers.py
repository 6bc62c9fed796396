import pytest
import torch
from torch import Tensor

from dcgmm.clustering import gaussian_mixture_labels, kmeans_labels
from dcgmm.errors import InputError
from tests.dcgmm.clustering.samples import same_partition


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
        with pytest.raises(InputError, match=f"{clusters} clusters of 90 samples: choose 1 to 90"):
            peer(points, clusters, seed=0)
