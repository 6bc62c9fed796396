"""Pictures of outliers: the detection curve, histograms of scores, maps of images.

Shapes: N images, Y X pixels, C channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.outliers.metrics import Curve, Floats
from dcgmm_cli.figures.base import picture, pixels_of

HOTTEST = 6.0  # the largest value that heat maps tell apart: a p-value of one in a million
MOST = 0.6  # of a pixel is its heat, at most: the image stays visible


def heat(outlying: Tensor) -> Tensor:  # (Y, X) -> (Y, X, 3)
    """A map of -log10 p in colours, from black at 0 over red to yellow at HOTTEST: the same in all pictures."""
    colours = colormaps["inferno"](outlying.cpu().clamp(0, HOTTEST).div(HOTTEST).numpy())
    return torch.from_numpy(colours[..., :3])


def overlay(image: Tensor, outlying: Tensor) -> Tensor:  # (Y, X, C) in [0, 1], (Y, X) -> (Y, X, 3)
    """An image in grey, under its heat map where that is hot."""
    grey = image.cpu().double().clamp(0, 1).mean(-1, keepdim=True).expand(-1, -1, 3)
    share = MOST * outlying.cpu().double().clamp(0, HOTTEST).div(HOTTEST).unsqueeze(-1)
    return (1 - share) * grey + share * heat(outlying)


def detection_figure(
    curves: Mapping[str, Curve],
    marked: Mapping[str, Sequence[tuple[float, float, float]]],  # label: (c, inliers kept, outliers removed)
) -> Figure:
    """Inliers kept against outliers removed while the threshold moves, with values of c along it (figure 3)."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    for number, (label, (kept, removed)) in enumerate(curves.items()):
        color = f"C{number}"
        axes.plot(100 * kept, 100 * removed, color=color, lw=1.4, label=label)
        for c, x, y in marked.get(label, ()):
            axes.plot(100 * x, 100 * y, "o", color=color, ms=4)
            axes.annotate(f"c={c:g}", (100 * x, 100 * y), (4, 4), textcoords="offset points", fontsize=7, color=color)
    axes.plot([0, 100], [100, 0], color="0.8", lw=0.8, zorder=0)  # what chance gives
    axes.set(xlim=(0, 108), ylim=(0, 104), xlabel="inliers kept (%)", ylabel="outliers removed (%)")
    axes.legend(fontsize="small", loc="lower left")
    return figure


def score_histograms(
    scores: Mapping[str, Mapping[str, Floats]],  # score: group of images: (N,), standardised
    thresholds: Mapping[str, float],  # score: where it cuts
) -> Figure:
    """Histograms of scores in training standard deviations, an axis a score, a colour a group of images."""
    figure = Figure(figsize=(4 * len(scores), 3), layout="constrained")
    for axes, (name, groups) in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores.items(), strict=True):
        joined = np.concatenate(list(groups.values()))
        # A few far outliers would press all others into one bar: they are counted in the last one.
        low, high = np.quantile(joined, 0.01), joined.max()
        bins = np.linspace(low, high if high > low else low + 1, 60)
        for number, (group, values) in enumerate(groups.items()):
            axes.hist(values.clip(low), bins, density=True, alpha=0.55, color=f"C{number}", label=group)
        if name in thresholds:
            axes.axvline(thresholds[name], color="k", lw=1, ls="--")
        axes.set(title=name, xlabel="training standard deviations", yticks=[])
    figure.axes[0].legend(fontsize="small", loc="upper left")
    return figure


def outline(mask: NDArray[Any]) -> list[list[tuple[float, float]]]:  # (Y, X) bool
    """Edges between pixels inside and outside a mask, as line segments (x, y); pixel centres are whole numbers."""
    padded = np.pad(mask.astype(bool), 1)
    beside = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])  # edge to the left of column x
    above = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    segments = [[(x - 0.5, y - 0.5), (x - 0.5, y + 0.5)] for y, x in beside.tolist()]
    return segments + [[(x - 0.5, y - 0.5), (x + 0.5, y - 0.5)] for y, x in above.tolist()]


def outlier_maps(
    images: Tensor,  # (N, Y, X, C) in [0, 1]
    titles: Sequence[str],
    maps: Mapping[str, Tensor],  # layer: (N, Y, X), standardised log-likelihood at each pixel
    outlined: Mapping[str, Tensor],  # layer: (N, Y, X) bool, pixels whose position is under the threshold
    limit: float = 4.0,
) -> Figure:
    """Images, each beside its maps: blue above and red below the training mean, up to `limit` standard deviations."""
    rows, columns = len(images), 1 + len(maps)
    figure = Figure(figsize=(1.8 * columns + 0.6, 1.95 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    pictures, shown = picture(images), None
    for row in range(rows):
        axes[row, 0].imshow(pixels_of(pictures[row]), cmap="gray", vmin=0, vmax=1)
        axes[row, 0].set_title(titles[row], fontsize=7)
        for column, name in enumerate(maps, start=1):
            panel = axes[row, column]
            values = maps[name][row].cpu().numpy()
            shown = panel.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit)
            lines = LineCollection(outline(outlined[name][row].cpu().numpy()), colors="k", linewidths=0.8)
            panel.add_collection(lines, autolim=False)
            if row == 0:
                panel.set_title(name, fontsize=8)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    if shown is not None:
        figure.colorbar(
            shown, ax=axes, shrink=min(1.0, 2 / rows), label="log-likelihood (training deviations)", extend="both"
        )
    return figure
