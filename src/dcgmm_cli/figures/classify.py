"""Pictures of classifiers: confusions, reliability, accuracy over missing pixels, images that are taken for others.

Shapes: N images, H W pixels, C channels, G classes.
"""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dcgmm.classification.calibration import Reliability
from dcgmm_cli.figures.base import drawable, picture, pixels_of

NUMBERED = 20  # classes up to which cells of a confusion matrix are numbered


def confusion_figure(confusions: Mapping[str, Tensor], names: Sequence[str]) -> Figure:  # (G, G) each
    """Confusion matrices side by side: the colour is the share of the row, the number counts images."""
    side = max(3.0, 0.42 * min(len(names), NUMBERED)) + 1
    figure = Figure(figsize=(side * len(confusions), side), layout="constrained")
    shown = [drawable(name, 16) for name in names]
    for axes, (title, counts) in zip(_row(figure, len(confusions)), confusions.items(), strict=True):
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
        axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
        axes.set(title=title, xlabel="taken for", ylabel="class")
        if len(names) > NUMBERED:
            continue
        for row, line in enumerate(counts.tolist()):
            for column, count in enumerate(line):
                if count:
                    color = "white" if shares[row, column] > 0.6 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", fontsize=6, color=color)
        axes.set_xticks(range(len(names)), shown, rotation=90 if max(map(len, names)) > 3 else 0, fontsize=7)
        axes.set_yticks(range(len(names)), shown, fontsize=7)
    figure.colorbar(axes.images[0], ax=figure.axes, label="share of the class", shrink=0.8)
    return figure


def reliability_figure(bins: Mapping[str, Reliability]) -> Figure:
    """Accuracy against confidence, and under it how many images are how sure, as shares of all."""
    figure = Figure(figsize=(4.2 * len(bins), 5), layout="constrained")
    upper, lower = figure.subplots(2, len(bins), squeeze=False, sharex=True, height_ratios=(3, 1))
    for above, below, (title, found) in zip(upper, lower, bins.items(), strict=True):
        width = 1 / len(found.count)
        centres = [width * (number + 0.5) for number in range(len(found.count))]
        above.bar(centres, found.accuracy.nan_to_num(0).tolist(), width, color="C0", edgecolor="white")
        above.plot([0, 1], [0, 1], color="0.5", lw=0.8, ls="--")
        used = found.count > 0
        above.plot(found.confidence[used].tolist(), found.accuracy[used].tolist(), "k.", ms=5)
        above.set(title=title, ylabel="share that is right", ylim=(0, 1.02))
        below.bar(centres, (found.count / found.count.sum()).tolist(), width, color="0.6", edgecolor="white")
        below.set(xlabel="confidence", ylabel="share of images", xlim=(0, 1))
    return figure


def missing_figure(shares: Sequence[float], accuracies: Mapping[str, Sequence[float]], chance: float) -> Figure:
    """Accuracy against the share of pixels that is missing at random."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, values in accuracies.items():
        axes.plot([100 * share for share in shares], [100 * value for value in values], ".-", label=name)
    axes.axhline(100 * chance, color="0.7", lw=0.8, ls="--", label="chance")
    axes.set(xlabel="pixels missing at random (%)", ylabel="accuracy (%)", ylim=(0, 102))
    figure.legend(fontsize="small", ncols=3, loc="outside upper center", frameon=False)
    return figure


def wrong_figure(images: Tensor, titles: Sequence[str], columns: int = 5) -> Figure:  # (N, H, W, C)
    """Images with what is said of them over each."""
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(1.7 * columns, 1.95 * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in cells:
        axes.set_axis_off()
    for axes, image, title in zip(cells, picture(images), titles, strict=False):
        axes.imshow(pixels_of(image), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=7)
    return figure


def _row(figure: Figure, count: int) -> Sequence[Axes]:
    axes: Sequence[Axes] = figure.subplots(1, count, squeeze=False)[0]
    return axes
