import pytest
import torch
from sklearn.cluster import AgglomerativeClustering

from dcgmm.clustering import merge_ward, torus_neighbours
from dcgmm.errors import InputError
from tests.dcgmm.clustering.samples import ints, line, same_partition


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
        with pytest.raises(InputError, match=f"{components} components form no square grid"):
            torus_neighbours(components)


@pytest.mark.parametrize("clusters", [0, 5])
def test_merging_names_what_is_possible(clusters: int) -> None:
    with pytest.raises(InputError, match=f"4 components cannot be merged to {clusters} clusters: choose 1 to 4"):
        merge_ward(line(0, 1, 2, 3), torch.ones(4), clusters)


@pytest.mark.parametrize("counts", [[1.0, 2.0], [0.0, 0.0, 0.0], [1.0, -1.0, 2.0], [1.0, float("nan"), 1.0]])
def test_merging_rejects_weights_that_fit_no_components(counts: list[float]) -> None:
    with pytest.raises(InputError, match="3 components"):
        merge_ward(line(0, 1, 2), torch.tensor(counts), 2)
