import itertools

import pytest
import torch

from dcgmm.clustering import contingency_matrix, majority_accuracy, matched_accuracy, purity
from tests.dcgmm.clustering.samples import ints


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
