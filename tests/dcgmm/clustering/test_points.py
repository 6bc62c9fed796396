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
from tests.dcgmm.clustering.samples import ints
from tests.refusals import refused


@pytest.mark.parametrize(
    ("points", "labels", "named"),
    [
        (torch.ones(3), ints(0, 1, 1), ["points", "(3,)"]),
        (torch.ones(0, 4), torch.ones(0, dtype=torch.int64), ["points", "(0, 4)"]),
        (torch.ones(3, 0), ints(0, 1, 1), ["points", "(3, 0)"]),
        (torch.tensor([[0.0], [float("nan")]]), ints(0, 1), ["points", "NaN", "finite"]),
        (torch.tensor([[0.0], [float("inf")]]), ints(0, 1), ["points", "infinite", "finite"]),
        (torch.ones(3, 2), ints(0, 1), ["3 points", "2 labels"]),
        (torch.ones(3, 2), torch.ones(3), ["labels", "(3,)", "torch.float32"]),
        (torch.ones(3, 2), torch.ones(3, 1, dtype=torch.int64), ["labels", "(3, 1)"]),
    ],
)
def test_what_is_no_clustering_is_rejected(points: Tensor, labels: Tensor, named: list[str]) -> None:
    for judge in (dunn_index, centroid_dunn_index, cluster_means, cluster_figures):
        with refused(*named):
            judge(points, labels)


def test_classes_that_do_not_fit_are_rejected() -> None:
    for agreement in (contingency_matrix, purity, matched_accuracy):
        with refused("3 labels", "2 classes"):
            agreement(ints(0, 1, 1), ints(0, 1))
    with refused("3 labels", "2 classes"):
        majority_accuracy(ints(0, 1, 1), ints(0, 1), ints(0), ints(0))
    with refused("classes", "(2,)", "torch.float32"):
        purity(ints(0, 1), torch.ones(2))
