from pathlib import Path

import pytest

from dcgmm.model import DCGMM, LayerOptions, LayerType
from dcgmm_cli.figures.train import limits, save_training_figures

LINE = {"epoch": 0.5, "layers": {"gmm1": {"log_likelihood": 1.0, "objective": 0.9, "sigma": 0.5, "learning_rate": 0.1}}}


@pytest.mark.parametrize(
    ("channels", "folded", "lines", "names"),
    [
        (1, True, 2, {"training.png", "centroids_gmm1.png"}),
        (3, True, 0, {"centroids_gmm1.png"}),
        (2, True, 1, {"training.png"}),  # no colours
        (1, False, 1, {"training.png"}),  # no patches
    ],
)
def test_what_can_be_drawn_is(tmp_path: Path, channels: int, folded: bool, lines: int, names: set[str]) -> None:
    folding = [LayerOptions(LayerType.folding, kernel=[4, 3])] if folded else []
    model = DCGMM.build((4, 3, channels), [*folding, LayerOptions(LayerType.gmm, components=4)])
    save_training_figures(model, tmp_path, [LINE] * lines)
    assert {path.name for path in (tmp_path / "figures").glob("*")} == names


def test_the_axes_hold_all_but_the_very_start() -> None:
    later = [*(690.0 + step % 7 for step in range(8)), 800.0, 560.0, *(690.0 + step % 7 for step in range(90))]
    low, high = limits([-5000.0, *later, -4000.0, *later], 101)
    assert -5000 < low <= 560
    assert high >= 800
    assert limits([-50.0, *later, -40.0, *later], 101)[0] > -50  # more than the rest has room for
    assert limits([400.0, *later, 500.0, *later], 101)[0] <= 400  # a start that has room is seen
    assert limits([1.0, 1.0], 1) == (0.0, 2.0)
