"""The benchmark's picture: figures of each class, ours against peers."""

import statistics
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from dcgmm.outliers.options import VOTE
from experiments.benchmark.configuration import MEMBERS
from experiments.benchmark.peers import PEERS
from experiments.benchmark.tasks import CLASSES, DATASETS
from experiments.paper.items import Row

MARKS = {"nearest-root": "x", "factor": "+", "full": "1", "pca": "2"}  # peers that are told apart; others are grey


def per_class(rows: Sequence[Row]) -> Figure:
    """AUROC of each class, mean over seeds; a panel a data set."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(DATASETS)), DATASETS.items(), strict=True):
        for method in PEERS:
            x, y = _points(rows, method, name)
            told = method in MARKS
            text = PEERS[method].title if told else "other peers" if method == "nearest" else None
            axes.plot(x, y, MARKS.get(method, "."), color="C1" if told else "0.75", label=text if x else None)
        for number, (arch, score) in enumerate(MEMBERS.items()):
            x, y = _points(rows, f"{arch} {score}", name)
            axes.plot(x, y, "^vs"[number % 3], ms=5, mfc="none", color="C0", label=f"{arch}, {score}" if x else None)
        x, y = _points(rows, VOTE, name)
        axes.plot(x, y, "o-", color="C0", lw=0.8, label="vote" if x else None)
        lowest = min((value for line in axes.lines for value in line.get_ydata()), default=0.7)
        axes.set(title=label, xlabel="class that is trained on", xticks=range(CLASSES), ylim=(max(lowest, 0.7), 1.002))
    figure.axes[0].set_ylabel("AUROC")
    shown = dict(pair[::-1] for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    if shown:
        figure.legend(shown.values(), shown.keys(), loc="outside right upper", fontsize="small")
    return figure


def _points(rows: Iterable[Row], method: str, dataset: str) -> tuple[list[int], list[float]]:
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["method"] == method and row["group"] == "one" and row["task"].startswith(f"{dataset}-"):
            found.setdefault(int(row["task"].rpartition("-")[2]), []).append(row["auroc"])
    return sorted(found), [statistics.fmean(found[label]) for label in sorted(found)]
