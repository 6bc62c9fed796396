import numpy as np
import pytest
import torch

from dcgmm.outliers import WorstPosition
from dcgmm.outliers.metrics import Curve
from dcgmm_cli.figures.outliers import (
    HOTTEST,
    TALL,
    detection_figure,
    heat,
    outlier_maps,
    outline,
    overlay,
    score_histograms,
)
from tests.dcgmm_cli.figures.boxes import overlaps


def test_outline_runs_around_the_mask() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 4] = True  # two pixels, at the right border
    segments = {tuple(sorted(segment)) for segment in outline(mask)}
    assert segments == {
        ((3.5, 0.5), (4.5, 0.5)),
        ((3.5, 2.5), (4.5, 2.5)),
        ((3.5, 0.5), (3.5, 1.5)),
        ((3.5, 1.5), (3.5, 2.5)),
        ((4.5, 0.5), (4.5, 1.5)),
        ((4.5, 1.5), (4.5, 2.5)),
    }
    assert outline(np.zeros((2, 2), bool)) == []


def test_heat_rises_on_a_scale_that_all_pictures_share_and_lets_the_image_through() -> None:
    outlying = torch.tensor([[0.0, 2.0, 4.0, HOTTEST, 90.0]])
    colours = heat(outlying)
    assert colours.shape == (1, 5, 3)
    assert (colours.sum(-1).diff()[:, :3] > 0).all()
    assert torch.equal(colours[:, 3], colours[:, 4])
    image = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0))
    over = overlay(image, outlying)
    torch.testing.assert_close(over[:, 0], image[:, 0].double().mean(-1, keepdim=True).expand(-1, 3))
    assert over.min() >= 0
    assert over.max() <= 1
    assert not torch.equal(over[:, 3], overlay(1 - image, outlying)[:, 3])


@pytest.mark.parametrize(
    ("count", "shape", "layers"),
    [(1, (28, 28, 1), 1), (3, (40, 10, 3), 3), (2, (6, 30, 2), 2), (TALL + 2, (5, 5, 1), 1)],
)
def test_images_lie_beside_their_maps_under_their_words(count: int, shape: tuple[int, int, int], layers: int) -> None:
    names = [f"gmm{number}" for number in range(1, layers + 1)]
    maps = {name: torch.zeros(count, *shape[:2]) for name in names}
    worst = [WorstPosition(names[-1], row % shape[0], shape[1] - 1, -5.0) for row in range(count)]
    titles = [
        f"{row:03d}{'n' * 21}\nclass {'n' * 18}\n-3.2 std, p = 0.0012\nworst: gmm3 111, 111" for row in range(count)
    ]
    figure = outlier_maps(
        torch.rand(count, *shape), titles, maps, {name: maps[name] < 0 for name in names}, worst, "a\nb"
    )
    assert overlaps(figure) == []
    axes = figure.axes[0]
    assert len(axes.images) == count * (1 + layers)
    blocks = -(-count // TALL)
    assert [text.get_text() for text in axes.texts if text.get_text() in names] == names * blocks
    # Each cross lies in its image and in its layer's map, where the worst place is.
    crosses = np.stack([line.get_xydata() for line in axes.lines])[:, 0].tolist()
    assert len(crosses) == 2 * count
    for number in range(count):
        for cross, panel in ((2 * number, 0), (2 * number + 1, layers)):
            left, _, _, top = axes.images[number * (1 + layers) + panel].get_extent()
            x, y = crosses[cross]
            assert (y - top - 0.5, x - left - 0.5) == pytest.approx((worst[number].row, worst[number].column))


def test_near_points_of_a_curve_share_their_label() -> None:
    ends = Curve(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    points = [(-2.0, 0.0, 1.0), (0.0, 0.5, 0.6), (1.5, 0.97, 0.02), (2.0, 0.99, 0.01)]
    figure = detection_figure({"joint": ends}, {"joint": points})
    assert [text.get_text() for text in figure.axes[0].texts] == ["c=-2", "c=0", "c=1.5, 2"]
    assert overlaps(figure) == []


def test_the_threshold_is_named_once_beside_the_histograms() -> None:
    groups = {"inliers": np.arange(9.0), "outliers": np.arange(5.0)}
    figure = score_histograms({"gmm1_log_prob": groups, "joint": groups}, {"joint": -1.5})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["inliers", "outliers", "threshold"]
    assert overlaps(figure) == []
