from pathlib import Path

import pytest

from dcgmm.model import DCGMM, LayerOptions, LayerType
from dcgmm_cli.figures.train import save_training_figures

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
