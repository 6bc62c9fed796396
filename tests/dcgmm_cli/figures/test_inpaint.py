import numpy as np
import pytest
import torch

from dcgmm_cli.figures.base import LABEL, enlarged
from dcgmm_cli.figures.inpaint import completion_rows, headings


@pytest.mark.parametrize(("count", "shape", "draws"), [(1, (28, 28, 1), 0), (200, (5, 9, 3), 2), (2, (80, 100, 1), 1)])
def test_every_column_has_its_heading(count: int, shape: tuple[int, int, int], draws: int) -> None:
    images = torch.zeros(count, *shape)
    observed = torch.ones(images.shape[:3], dtype=torch.bool)
    completed, variance = torch.zeros(2 + draws, *images.shape), torch.full_like(images, 0.25)
    pixels = np.asarray(completion_rows(images, observed, completed, variance))
    enlarge, top, columns = enlarged(shape[1]), 2 * LABEL, 5 + draws
    height, width = ((side + 1) * number - 1 for side, number in zip(shape[:2], (count, columns), strict=True))
    assert pixels.shape == (top + height * enlarge, width * enlarge, 3)
    for words in np.array_split(pixels[:top], columns, axis=1):
        assert words.min() < 128
        assert (words[:, :2] == 255).all()  # none reaches its neighbour
        assert (words[:, -2:] == 255).all()


def test_headings_name_mean_draws_and_scale() -> None:
    assert headings(2, 0.314) == ["mean", "most likely", "draw 1", "draw 2", "std of draws\n0 to 0.31"]
