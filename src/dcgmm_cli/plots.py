"""Pictures: functions from tensors and measurements to figures and images."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dcgmm_cli.detection import Curve
from dcgmm_cli.model import Shape
from dcgmm_cli.runs import write_whole
from dcgmm_cli.sharpening import Sharpened


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    write_whole(path, lambda file: file.write(buffer.getvalue()))


def save_image(image: Tensor, path: Path, enlarge: int = 1) -> None:  # (H, W, C), C 1 or 3, in [0, 1]
    """Write an image as PNG, each pixel as a square of `enlarge` x `enlarge`."""
    pixels = image.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8)
    pixels = pixels.repeat_interleave(enlarge, 0).repeat_interleave(enlarge, 1)
    array: np.ndarray[Any, Any] = pixels.squeeze(-1).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png", optimize=True)
    write_whole(path, lambda file: file.write(buffer.getvalue()))


def tile(images: Tensor, columns: int | None = None, gap: int = 1) -> Tensor:  # (N, H, W, C) -> (H', W', C)
    """Images side by side in rows (as square as can be by default), with a mid-grey gap."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = images.new_full((rows * columns, height + gap, width + gap, channels), 0.5)
    cells[:count, :height, :width] = images
    sheet = cells.view(rows, columns, height + gap, width + gap, channels).movedim(2, 1)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


def patch_images(loc: Tensor, kernel: tuple[int, ...], image: Shape) -> Tensor:  # (K, D) -> (K, kh, kw, C)
    """Centroids of the first GMM layer as image patches."""
    return loc.reshape(len(loc), *kernel, image.channels)


def training_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Log-likelihood, sigma and learning rate of each GMM layer over the epochs, from a run's measurements."""
    names = sorted({name for line in metrics for name in line["layers"]})
    figure = Figure(figsize=(4 * len(names), 6.5), layout="constrained")
    axes = figure.subplots(3, len(names), squeeze=False, sharex=True)
    epochs = [line["epoch"] for line in metrics]

    def curve(name: str, key: str) -> list[float]:
        return [line["layers"][name][key] for line in metrics]

    for column, name in enumerate(names):
        likelihood, sigma, rate = axes[:, column]
        likelihood.plot(epochs, curve(name, "log_likelihood"), lw=0.8, label="log-likelihood (batch)")
        likelihood.plot(epochs, curve(name, "objective"), lw=1.2, label="objective (window)")
        # The first steps are far below all that follows and would flatten the rest.
        values = curve(name, "log_likelihood") + curve(name, "objective")
        low, high = np.quantile(values, 0.03), max(values)
        if high > low:
            likelihood.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        likelihood.set_title(name)
        sigma.semilogy(epochs, curve(name, "sigma"), color="C2")
        rate.plot(epochs, curve(name, "learning_rate"), color="C3")
        rate.set_xlabel("epoch")
    axes[0, 0].set_ylabel("nats a position")
    axes[0, 0].legend(fontsize="small")
    axes[1, 0].set_ylabel("sigma (grid steps)")
    axes[2, 0].set_ylabel("learning rate")
    return figure


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
    scores: Mapping[str, Mapping[str, np.ndarray[Any, Any]]],  # score: group of images: (N,), standardised
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


def outline(mask: np.ndarray[Any, Any]) -> list[list[tuple[float, float]]]:  # (Y, X) bool
    """Edges between pixels inside and outside a mask, as line segments (x, y); pixel centres are whole numbers."""
    padded = np.pad(mask.astype(bool), 1)
    beside = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])  # edge to the left of column x
    above = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    segments = [[(x - 0.5, y - 0.5), (x - 0.5, y + 0.5)] for y, x in beside.tolist()]
    return segments + [[(x - 0.5, y - 0.5), (x + 0.5, y - 0.5)] for y, x in above.tolist()]


def outlier_maps(
    images: Tensor,  # (N, Y, X, C) in [0, 1], C 1 or 3
    titles: Sequence[str],
    maps: Mapping[str, Tensor],  # layer: (N, Y, X), standardised log-likelihood at each pixel
    outlined: Mapping[str, Tensor],  # layer: (N, Y, X) bool, pixels whose position is under the threshold
    limit: float = 4.0,
) -> Figure:
    """Images, each beside its maps: blue above and red below the training mean, up to `limit` standard deviations."""
    rows, columns = len(images), 1 + len(maps)
    figure = Figure(figsize=(1.8 * columns + 0.6, 1.95 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    shown = None
    for row in range(rows):
        image = images[row].detach().cpu().clamp(0, 1)
        axes[row, 0].imshow(image.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
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


def sharpening_curves(steps: Mapping[str, Sharpened]) -> Figure:
    """Log-likelihood over the iterations of sharpening, a panel for each Folding layer."""
    figure = Figure(figsize=(3.6 * len(steps), 2.8), layout="constrained")
    axes = figure.subplots(1, len(steps), squeeze=False)[0]
    for panel, (name, step) in zip(axes, sorted(steps.items()), strict=True):
        panel.plot(step.iterations, step.log_likelihood)
        panel.set_title(f"{name}, in {step.target}")
        panel.set_xlabel(f"iteration (steps of {step.step_size:.3g})")
    axes[0].set_ylabel("log-likelihood (nats a position)")
    return figure


def component_bars(name: str, weights: Tensor, use: Tensor | None) -> Figure:  # (K,), (K,)
    """Mixture weights of a GMM layer, and the share of positions at which each component is the most likely one."""
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    index = torch.arange(len(weights)).numpy()
    width = 0.8 if use is None else 0.4
    axes.bar(index, weights.numpy(), width, label="mixture weight")
    if use is not None:
        axes.bar(index + width, use.numpy(), width, label="use on training images")
    axes.set_xlabel(f"component of {name}")
    axes.legend(fontsize="small", ncols=2, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def walk_figure(panels: Sequence[tuple[str, Tensor]]) -> Figure:  # (H, W, 1 or 3) each, in [0, 1]
    """Pictures with titles in a row, from a top component to the image (Figure 2)."""
    figure = Figure(figsize=(3 * len(panels), 3.2), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        pixels = image.clamp(0, 1).numpy()
        axes.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize="medium")
        axes.set_axis_off()
    return figure
