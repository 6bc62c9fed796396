"""Pictures of outliers: the detection curve, histograms of scores, maps of images.

Shapes: N images, Y X pixels, C channels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.outliers import WorstPosition
from dcgmm.outliers.metrics import Curve, Floats
from dcgmm_cli.figures.base import picture, pixels_of

HOTTEST = 6.0  # the largest value that heat maps tell apart: a p-value of one in a million
MOST = 0.6  # of a pixel is its heat, at most: the image stays visible
NEAR = 0.08  # of an axis: points of a curve that are nearer share their label
SIDE, TALL = 1.7, 50  # inches of an image's longer side, and images under each other


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
        places: list[tuple[float, float, str]] = []
        for c, x, y in marked.get(label, ()):
            axes.plot(100 * x, 100 * y, "o", color=color, ms=4)
            if places and abs(places[-1][0] - x) < NEAR and abs(places[-1][1] - y) < NEAR / 2:
                places[-1] = (*places[-1][:2], f"{places[-1][2]}, {c:g}")
            else:
                places.append((x, y, f"c={c:g}"))
        for x, y, words in places:
            text = axes.annotate(words, (100 * x, 100 * y), (4, 4), textcoords="offset points", fontsize=7, color=color)
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])  # over other curves
    axes.plot([0, 100], [100, 0], color="0.8", lw=0.8, zorder=0, label="chance")
    axes.set(xlim=(0, 108), ylim=(0, 104), xlabel="inliers kept (%)", ylabel="outliers removed (%)")
    axes.legend(fontsize="small", loc="lower left")
    return figure


def score_histograms(
    scores: Mapping[str, Mapping[str, Floats]],  # score: group of images: (N,), standardised
    thresholds: Mapping[str, float],  # score: where it cuts
) -> Figure:
    """Histograms of scores in training standard deviations, an axis a score, a colour a group of images."""
    figure = Figure(figsize=(4 * len(scores), 3.2), layout="constrained")
    named: dict[str, Artist] = {}
    for axes, (name, groups) in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores.items(), strict=True):
        joined = np.concatenate(list(groups.values()))
        # A few far outliers would press all others into one bar: they are counted in the first one.
        low, high = np.quantile(joined, 0.01), joined.max()
        bins = np.linspace(low, high if high > low else low + 1, 60)
        for number, (group, values) in enumerate(groups.items()):
            axes.hist(values.clip(low), bins, density=True, alpha=0.55, color=f"C{number}", label=group)
        if name in thresholds:
            axes.axvline(thresholds[name], color="k", lw=1, ls="--", label="threshold")
        axes.set(title=name, xlabel="training standard deviations", yticks=[])
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(list(named.values()), list(named), fontsize="small", ncols=3, loc="outside upper center")
    return figure


def outline(mask: NDArray[Any], left: float = 0, top: float = 0) -> list[list[tuple[float, float]]]:  # (Y, X) bool
    """Edges between pixels inside and outside a mask, as line segments (x, y); the first pixel lies at (left, top)."""
    padded = np.pad(mask.astype(bool), 1)
    beside = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])  # edge to the left of column x
    above = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    starts = [(left + x - 0.5, top + y - 0.5, 0, 1) for y, x in beside.tolist()]
    starts += [(left + x - 0.5, top + y - 0.5, 1, 0) for y, x in above.tolist()]
    return [[(x, y), (x + right, y + down)] for x, y, right, down in starts]


@dataclass(frozen=True)
class _Layout:
    """Where images and their maps lie, in pixels of an image: blocks of at most `TALL` rows beside each other."""

    height: int  # of an image
    width: int
    count: int  # of images
    columns: int  # of a block: an image and its maps
    lines: int  # of a title

    @property
    def inch(self) -> float:
        return max(self.height, self.width) / SIDE

    @property
    def step(self) -> tuple[float, float]:
        """From a column to the next, and from a row to the next."""
        return max(self.width, SIDE * self.inch) + 0.1 * self.inch, self.height + (0.13 * self.lines + 0.12) * self.inch

    @property
    def size(self) -> tuple[float, float]:
        (across, down), blocks = self.step, math.ceil(self.count / TALL)
        return blocks * self.columns * across, min(self.count, TALL) * down

    def corner(self, number: int, column: int) -> tuple[float, float]:
        """The first pixel of an image's picture or map."""
        (block, row), (across, down) = divmod(number, TALL), self.step
        return (block * self.columns + column) * across, row * down

    def draw(self, axes: Axes, pixels: NDArray[Any], corner: tuple[float, float], **colours: Any) -> None:
        """Draw a picture or map with its first pixel in a corner."""
        left, top = corner[0] - 0.5, corner[1] - 0.5
        axes.imshow(pixels, extent=(left, left + self.width, top + self.height, top), **colours)

    def write(self, axes: Axes, text: str, corner: tuple[float, float], size: int) -> None:
        """Write over a picture or map."""
        axes.text(corner[0], corner[1] - 0.05 * self.inch, text, fontsize=size, va="bottom")

    def limit(self, axes: Axes) -> None:
        """Let axes show all of it, and nothing of their own."""
        (right, bottom), above, rim = self.size, self.step[1] - self.height, self.inch / 20
        axes.set(xlim=(-rim, right), ylim=(bottom - above + rim, -above), aspect="equal")
        axes.set_axis_off()


def outlier_maps(
    images: Tensor,  # (N, Y, X, C) in [0, 1]
    titles: Sequence[str],
    maps: Mapping[str, Tensor],  # layer: (N, Y, X), standardised log-likelihood at each pixel
    outlined: Mapping[str, Tensor],  # layer: (N, Y, X) bool, pixels whose position is under the threshold
    worst: Sequence[WorstPosition],
    heading: str,
    limit: float = 4.0,
) -> Figure:
    """Images, each beside its maps: blue above and red below the training mean, up to `limit` standard deviations.

    A cross marks the worst place. Many images stand in blocks beside each other.
    """
    count, height, width = images.shape[:3]
    layout = _Layout(height, width, count, 1 + len(maps), max(title.count("\n") + 1 for title in titles))
    figsize = (layout.size[0] / layout.inch + 0.9, layout.size[1] / layout.inch + 0.5)
    figure = Figure(figsize=figsize, layout="constrained")
    axes, pictures, shades = figure.subplots(), picture(images), ScalarMappable(Normalize(-limit, limit), "RdBu")
    for number, (title, place) in enumerate(zip(titles, worst, strict=True)):
        corners = {name: layout.corner(number, column) for column, name in enumerate(["", *maps])}
        layout.draw(axes, pixels_of(pictures[number]), corners[""], cmap="gray", vmin=0, vmax=1)
        layout.write(axes, title, corners[""], 7)
        for name, values in maps.items():
            layout.draw(axes, values[number].cpu().numpy(), corners[name], cmap=shades.cmap, norm=shades.norm)
            edges = outline(outlined[name][number].cpu().numpy(), *corners[name])
            axes.add_collection(LineCollection(edges, colors="k", linewidths=0.8), autolim=False)
            if number % TALL == 0:
                layout.write(axes, name, corners[name], 8)
        for x, y in (corners[""], corners[place.layer]):
            axes.plot(x + place.column, y + place.row, "x", color="lime", mew=1.5)
    layout.limit(axes)
    axes.set_title(heading, fontsize=8, loc="left")
    shrink = min(1.0, 4 / figure.get_figheight())
    figure.colorbar(shades, ax=axes, shrink=shrink, label="log-likelihood (training deviations)", extend="both")
    return figure
