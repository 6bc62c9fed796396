import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor

from dcgmm.clustering import centroid_dunn_index, dunn, dunn_index
from dcgmm.errors import InputError
from tests.dcgmm.clustering.samples import distances, ints, line


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
    monkeypatch.setattr(dunn, "BLOCK", block)
    monkeypatch.setattr(dunn, "CHUNK_VALUES", 60)
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
    monkeypatch.setattr(dunn, "BLOCK", block)
    generator = torch.Generator().manual_seed(2)
    originals = torch.rand(40, 300, generator=generator, dtype=torch.float64) + offset
    steps = torch.randn(40, 300, generator=generator, dtype=torch.float64)
    steps *= torch.linspace(1, 2, 40, dtype=torch.float64)[torch.randperm(40, generator=generator), None]
    points = torch.cat([originals, originals + 1e-6 * steps])
    check_against_reference(points, torch.arange(80) // 40)


@pytest.mark.parametrize("block", [2, 8, 1024])
def test_dunn_index_orders_nearly_equal_diameters(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(dunn, "BLOCK", block)
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
    search = dunn._PairSearch(x, np.arange(200), order, torch.device("cpu"))
    ((_, _, squared, _),) = dunn._blocks(search.unit, search.norms, np.zeros(200, np.int64))

    exact = (distances(images) / search.radius) ** 2
    error = np.abs(squared.numpy() - exact[np.ix_(order, order)]).max()
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
    with pytest.raises(InputError, match=r"all 3 samples are in one cluster \(label 8\).*at least 2"):
        index(line(0, 1, 2), ints(8, 8, 8))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_dunn_index_of_10000_images_is_fast_and_small() -> None:
    script = """
import time, torch
from dcgmm.clustering import dunn_index
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
