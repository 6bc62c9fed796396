import pytest
import torch

from dcgmm.clustering import centroid_dunn_index, cluster_means, nearest_to_means
from dcgmm.errors import InputError
from tests.dcgmm.clustering.samples import ints, line


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
    with pytest.raises(InputError, match="count 0"):
        nearest_to_means(points, labels, 0)
