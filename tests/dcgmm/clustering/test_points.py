import pytest
import torch
from torch import Tensor

from dcgmm.clustering import (
    centroid_dunn_index,
    cluster_figures,
    cluster_means,
    contingency_matrix,
    dunn_index,
    majority_accuracy,
    matched_accuracy,
    purity,
)
from dcgmm.errors import InputError
from tests.dcgmm.clustering.samples import ints


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
        with pytest.raises(InputError, match=message):
            judge(points, labels)


def test_classes_that_do_not_fit_are_rejected() -> None:
    for agreement in (contingency_matrix, purity, matched_accuracy):
        with pytest.raises(InputError, match="3 labels and 2 classes"):
            agreement(ints(0, 1, 1), ints(0, 1))
    with pytest.raises(InputError, match="3 labels and 2 classes"):
        majority_accuracy(ints(0, 1, 1), ints(0, 1), ints(0), ints(0))
    with pytest.raises(InputError, match="classes of shape"):
        purity(ints(0, 1), torch.ones(2))
