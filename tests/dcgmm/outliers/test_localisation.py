from typing import Any

import pytest
import torch

from dcgmm.model import DCGMM
from dcgmm.outliers.localisation import at_pixels, centre_pixel, nearest_positions, pixel_maps

FOLD, POOL, MIX = "folding", "pooling", {"type": "gmm", "components": 4}


def stack(*layers: tuple[str, tuple[int, int], tuple[int, int]], shape: tuple[int, int, int] = (7, 9, 2)) -> DCGMM:
    """The given windows, a GMM layer after each Folding."""
    described: list[dict[str, Any]] = []
    for kind, kernel, stride in layers:
        described.append({"type": kind, "kernel": kernel, "stride": stride})
        if kind == FOLD:
            described.append(MIX)
    return DCGMM.build(shape, described)


NETS = {
    "one window": stack((FOLD, (7, 9), (1, 1))),
    "overlap": stack((FOLD, (3, 4), (2, 1))),
    "gaps": stack((FOLD, (1, 2), (2, 3))),
    "uncovered edge": stack((FOLD, (2, 2), (2, 2))),
    "three layers": stack((FOLD, (3, 3), (1, 1)), (POOL, (2, 2), (2, 2)), (FOLD, (2, 2), (1, 1))),
}


@pytest.mark.parametrize("net", NETS)
def test_pixels_have_means_of_the_positions_that_see_them(net: str) -> None:
    model = NETS[net]
    for name, gmm in model.gmms.items():
        maps = torch.rand(3, *gmm.input_shape[:2], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        pixels = pixel_maps(model, name, maps)
        assert pixels.shape == (3, 7, 9)
        seen = ~pixels.isnan()
        assert (pixels[seen] <= maps.max()).all()
        assert (pixels[seen] >= maps.min()).all()
        constant = pixel_maps(model, name, torch.full_like(maps, 2.5))
        assert torch.allclose(constant[seen], torch.tensor(2.5, dtype=torch.float64))
        assert torch.equal(constant.isnan(), ~seen)


def test_overlapping_windows_are_averaged() -> None:
    model = stack((FOLD, (1, 2), (1, 1)), shape=(1, 4, 1))
    assert pixel_maps(model, "gmm1", torch.tensor([[[1.0, 3.0, 8.0]]])).tolist() == [[[1.0, 2.0, 5.5, 8.0]]]


def test_a_pixel_that_no_window_sees_is_nan() -> None:
    model = NETS["uncovered edge"]
    pixels = pixel_maps(model, "gmm1", torch.ones(1, 3, 4))
    expected = torch.zeros(1, 7, 9, dtype=torch.bool)
    expected[:, 6:] = True
    expected[:, :, 8:] = True
    assert torch.equal(pixels.isnan(), expected)


@pytest.mark.parametrize("net", NETS)
def test_nearest_positions_run_over_all_positions_in_order(net: str) -> None:
    model = NETS[net]
    for name, gmm in model.gmms.items():
        for line, count in zip(nearest_positions(model, name), gmm.input_shape[:2], strict=True):
            assert line.unique().tolist() == list(range(count))
            assert (line.diff() >= 0).all()


def test_cells_lie_around_the_centres_of_the_windows() -> None:
    model = stack((FOLD, (1, 3), (1, 2)), shape=(1, 7, 1))  # centres at 1, 3, 5
    cells = at_pixels(model, "gmm1", torch.tensor([[[10.0, 20.0, 30.0]]]))
    assert cells[0, 0, [1, 3, 5]].tolist() == [10, 20, 30]
    assert centre_pixel(model, "gmm1", 0, 1)[1] in (2, 3, 4)
    assert cells[0, 0, 0] == 10
    assert cells[0, 0, 6] == 30
