"""Figures of localisation against their definitions, written out threshold by threshold."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

import dcgmm
from dcgmm.outliers import Detector, localise, outlying_maps
from dcgmm.outliers.localisation import pixel_maps
from dcgmm.outliers.metrics import Floats
from dcgmm.outliers.where import PRO_LIMIT, best_f1, per_region_overlap
from examples.textures.generate import DEFECTS, damaged, textured
from tests.dcgmm.outliers.test_calibration import LAYERS
from tests.dcgmm.small import small_images, small_model
from tests.refusals import option_refused

Masks = NDArray[np.bool_]


def made(seed: int, levels: int = 0) -> tuple[Floats, Masks]:
    """Maps of 3 images of 6x9 pixels, with several regions; of few levels there are ties."""
    random = np.random.RandomState(seed)
    masks = np.zeros((3, 6, 9), bool)
    masks[0, 1:3, 1:4] = masks[0, 3, 4] = masks[0, 0, 8] = masks[1, 2:, 5] = True  # (3, 4) touches at a corner
    maps = random.normal(size=masks.shape) + 0.8 * masks
    return (np.round(maps * levels) / levels if levels else maps), masks


def regions(mask: Masks) -> list[set[tuple[int, int]]]:
    """Connected parts, corners included, by flooding."""
    left, found = set(zip(*map(np.ndarray.tolist, np.nonzero(mask)), strict=True)), []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(part)
    return found


def overlap_by_thresholds(maps: Floats, masks: Masks) -> float:
    points = [(0.0, 0.0)]
    parts = [(n, part) for n, mask in enumerate(masks) for part in regions(mask)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        taken = maps >= threshold
        found = [np.mean([taken[n, y, x] for y, x in part]) for n, part in parts]
        points.append((float(taken[~masks].mean()), float(np.mean(found))))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < PRO_LIMIT and x1 > x0:
            end = min(x1, PRO_LIMIT)
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / PRO_LIMIT


@pytest.mark.parametrize(("seed", "levels"), [(0, 0), (1, 0), (2, 2), (3, 1)])
def test_figures_are_those_of_every_threshold(seed: int, levels: int) -> None:
    maps, masks = made(seed, levels)
    figures = localise(maps, masks)
    assert figures.pixel_auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert figures.pro == pytest.approx(overlap_by_thresholds(maps, masks))
    every = {t: f1_score(masks.ravel(), maps.ravel() >= t) for t in np.unique(maps)}
    assert figures.f1 == pytest.approx(max(every.values()))
    assert every[figures.f1_threshold] == pytest.approx(figures.f1)


def test_maps_that_know_and_maps_that_know_nothing() -> None:
    _, masks = made(0)
    assert localise(masks.astype(float), masks) == pytest.approx((1.0, 1.0, 1.0, 1.0))
    flat = np.zeros(masks.shape)
    assert per_region_overlap(flat, masks) == pytest.approx(PRO_LIMIT / 2)
    assert best_f1(flat, masks)[0] == pytest.approx(2 * masks.mean() / (1 + masks.mean()))
    for wrong, value in ((masks & False, "none"), (masks | True, "all")):
        with option_refused("masks", value):
            localise(flat, wrong)


def test_a_region_counts_as_much_as_a_larger_one() -> None:
    masks = np.zeros((1, 10, 10), bool)
    masks[0, :4, :4] = masks[0, 9, 9] = True
    small, large = np.zeros(masks.shape), np.zeros(masks.shape)
    small[0, 9, 9], large[0, :4, :4] = 1, 1
    assert per_region_overlap(small, masks) == pytest.approx(per_region_overlap(large, masks))


def test_maps_of_layers_become_one_of_p_values() -> None:
    detector = Detector.fit(small_model(), small_images(150))
    maps = detector.report(small_images(5, 1)).maps
    found = outlying_maps(detector, maps)
    assert found.shape == (5, 9, 7)
    log_p = detector.known_calibration.positions["gmm1"].log_p_values(maps["gmm1"])
    expected = pixel_maps(detector.model, "gmm1", log_p)
    torch.testing.assert_close(10**-found, expected.exp())  # gmm2 has one position, which says not where


@pytest.mark.slow
def test_defects_in_textures_are_found_where_they_are() -> None:
    train, test = textured("stripes", 400, 32, 0), textured("stripes", 100, 32, 2)
    model = dcgmm.DCGMM.build((32, 32, 3), LAYERS)
    dcgmm.fit(model, train, seed=0, steps=1700, annealing={"alpha": 0.05})
    detector = Detector.fit(model, train)
    for number, kind in enumerate(DEFECTS):
        images, masks = damaged(test, kind, number)
        maps = outlying_maps(detector, detector.report(images).maps)
        assert localise(maps.numpy(), masks.numpy()).pixel_auroc > 0.95, kind
