from pathlib import Path

import pytest

from dcgmm.model import DCGMM, LayerOptions, LayerType
from dcgmm_cli.figures.train import FEW, limits, save_training_figures, training_curves
from tests.dcgmm_cli.figures.boxes import overlaps

MEASURED = {"log_likelihood": 1.0, "objective": 0.9, "sigma": 0.5, "learning_rate": 0.1}
LINE = {"epoch": 0.5, "layers": {"gmm1": MEASURED}}


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


@pytest.mark.parametrize("layers", [1, 3])
def test_nothing_is_written_over_curves_or_words(layers: int) -> None:
    lines = [
        {
            "epoch": step / 50,
            "layers": {
                f"gmm{number}": MEASURED
                | {"log_likelihood": -123456.0 if step == 0 else float(step), "sigma": 2 - step / 99}
                for number in range(1, layers + 1)
            },
        }
        for step in range(99)
    ]
    figure = training_curves(lines)
    assert overlaps(figure) == []
    top = figure.axes[:layers]
    assert [axes.get_title("left") for axes in top] == [f"gmm{number}" for number in range(1, layers + 1)]
    assert {axes.get_title("right") for axes in top} == {"starts at -123,456"}
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_few_measurements_are_seen() -> None:
    for count in (1, FEW - 1, FEW):
        lines = [LINE | {"epoch": float(step)} for step in range(count)]
        markers = {line.get_marker() for axes in training_curves(lines).axes for line in axes.lines}
        assert markers == {"." if count < FEW else ""}
