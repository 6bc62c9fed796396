import torch

from dcgmm_cli.figures.classify import confusion_figure, missing_figure, wrong_figure
from tests.dcgmm_cli.figures.boxes import overlaps


def test_long_names_and_odd_signs_fit() -> None:
    names = [f"{'long ' * 6}{number}" for number in range(9)] + ["$broken{"]
    figure = confusion_figure({"generative": torch.eye(10), "readout": torch.ones(10, 10)}, names)
    assert overlaps(figure) == []
    assert figure.axes[-1].get_ylabel() == "share of the class"


def test_the_legend_hides_no_curve() -> None:
    figure = missing_figure([0, 0.5, 0.9], {"generative": [0.15, 0.1, 0.1], "readout": [0.9, 0.8, 0.4]}, 0.1)
    assert overlaps(figure) == []
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["generative", "readout", "chance"]
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_words_over_images_stay_apart() -> None:
    titles = ["...mmmmmmmmmmm\ntaken for ...nnnnnnnnnnn: 100%"] * 7
    assert overlaps(wrong_figure(torch.rand(7, 8, 8, 3), titles)) == []
    assert overlaps(wrong_figure(torch.rand(1, 8, 4, 1), titles[:1])) == []
