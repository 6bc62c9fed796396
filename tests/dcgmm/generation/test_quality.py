from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, jensenshannon
from torch import Tensor

from dcgmm.generation.classifier import examples_of, train_judge
from dcgmm.generation.frechet import FeatureReference
from dcgmm.generation.quality import different_bins, fit_bins, jensen_shannon, judge, nearest, reference_of, rows
from tests.refusals import option_refused, refused


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, seed: int = 0) -> Tensor:  # not square, two channels
    return torch.rand(count, 3, 5, 2, generator=seeded(seed))


def test_nearest_is_scipys() -> None:
    x, others = rows(images(40)).double(), rows(images(60, 1)).double()
    full = cdist(x, others)
    distance, index = nearest(x, others)
    assert np.allclose(distance, full.min(1))
    assert np.array_equal(index, full.argmin(1))
    own = cdist(x, x) + np.diag(np.full(40, np.inf))
    assert np.allclose(nearest(x)[0], own.min(1))


def test_rows_scale_bytes_and_clamp_floats() -> None:
    assert rows(torch.tensor([[[[0], [51], [255]]]], dtype=torch.uint8)).tolist() == [[0, pytest.approx(0.2), 1]]
    assert rows(torch.tensor([[[[-0.5], [0.25], [1.5]]]])).tolist() == [[0, 0.25, 1]]


def test_bins_find_separate_clusters() -> None:
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    sizes = torch.tensor([10, 20, 30, 40])
    points = corners.repeat_interleave(sizes, 0) + 0.05 * torch.randn(100, 2, generator=seeded())
    bins = fit_bins(points, 4, seeded(1))
    assert sorted(bins.counts.tolist()) == [10, 20, 30, 40]
    order = bins.counts.argsort()
    assert torch.allclose(bins.centres[order], corners, atol=0.05)
    again = fit_bins(points, 4, seeded(1))
    assert torch.equal(bins.centres, again.centres)


def test_different_bins_by_the_two_proportion_test() -> None:
    # By hand: of 100 and 1000, shares .30 and .20 give z = .1 / sqrt(p (1 - p) (1/100 + 1/1000)), p = 230/1100: 2.34.
    counts, reference = torch.tensor([30, 20, 50]), torch.tensor([200, 230, 570])
    assert different_bins(counts, reference) == 1
    assert different_bins(torch.tensor([28, 22, 50]), reference) == 0
    assert different_bins(torch.tensor([0, 0, 100]), reference) == 3
    assert different_bins(torch.tensor([1, 0]), torch.tensor([1, 0])) == 0


def test_jensen_shannon_is_scipys() -> None:
    p, q = torch.tensor([5, 0, 3, 0, 2]), torch.tensor([10, 4, 0, 0, 6])
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p.numpy(), q.numpy()) ** 2)
    assert jensen_shannon(p, 3 * p) == 0


def test_judge_tells_copies_from_fresh_images() -> None:
    train = images(400)
    reference = reference_of(train, 8, 100, seeded())
    fresh, copies = judge(images(100, 7), reference), judge(train[:1].repeat(100, 1, 1, 1), reference)
    assert fresh.near_duplicates == 0
    assert fresh.diversity > reference.duplicate_distance
    assert fresh.train_distance > 0.1
    assert (copies.near_duplicates, copies.count, copies.bins) == (1, 100, 8)
    assert copies.diversity == pytest.approx(0, abs=1e-2)
    assert copies.train_distance == pytest.approx(0, abs=1e-2)
    assert None not in (copies.ndb, copies.js, fresh.ndb, fresh.js)
    assert (copies.ndb or 0) > (fresh.ndb or 0)
    assert (copies.js or 0) > (fresh.js or 0)
    assert judge(images(100, 7), reference_of(train, 8, 100, seeded())) == fresh


def test_features_add_a_distance_and_change_nothing_else() -> None:
    real = torch.rand(240, 8, 8, 1, generator=seeded())
    features = FeatureReference.of(train_judge(examples_of(real, torch.arange(240) % 2)), real[:100], 50)
    reference = reference_of(real, 8, 50, seeded())
    bare, judged = judge(real[:50], reference), judge(real[:50], reference, features)
    assert bare.frechet is None
    assert judged.frechet == features.distance(real[:50])
    assert replace(judged, frechet=None) == bare
    darker = judge(0.5 * real[:50], reference, features).frechet
    assert darker is not None
    assert darker > judged.frechet > 0


def test_too_few_images() -> None:
    with option_refused("bins", 6, 1, 5):
        fit_bins(rows(images(5)), 6, seeded())
    with refused("quality", 2, 1):
        reference_of(images(5), 2, 1, seeded())


def test_fewer_training_images_than_bins_leave_out_what_takes_bins() -> None:
    train, others = images(5), images(8, 7)
    few, enough = (judge(others, reference_of(train, bins, 8, seeded())) for bins in (6, 5))
    assert (few.ndb, few.js, few.bins) == (None, None, 0)
    assert (few.diversity, few.near_duplicates, few.train_distance) == (
        enough.diversity,
        enough.near_duplicates,
        enough.train_distance,
    )
