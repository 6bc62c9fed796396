"""Figures of an earlier version beside those of now."""

from pathlib import Path

from experiments.paper.changes import BEFORE, FIGURES, changes
from experiments.paper.items import Item
from experiments.paper.plan import ITEMS
from experiments.paper.sheet import Sheet


def test_figures_that_were_run_stand_beside_the_earlier_ones(tmp_path: Path) -> None:
    rows = [
        {"dataset": "mnist", "arch": "2L-c", "seed": seed, "auroc": auroc, "joint": 0.5}
        for seed, auroc in enumerate((0.8, 0.9))
    ]
    collected = dict.fromkeys(ITEMS) | {"fig3": Item(rows, {})}
    sheet = Sheet(collected, tmp_path)
    changes(sheet)
    lines = [line for line in sheet.markdown().splitlines() if line.startswith("| MNIST | 2L-c")]
    assert lines == ["| MNIST | 2L-c | AUROC, the paper's score | 0.825 ± 0.007 | 0.850 ± 0.071 |"]
    assert BEFORE in sheet.markdown()


def test_figures_are_of_items_of_the_paper() -> None:
    assert {figure.item for figure in FIGURES} <= set(ITEMS)
    assert len({(figure.item, figure.key, figure.dataset, figure.arch) for figure in FIGURES}) == len(FIGURES)
