"""Pictures: functions from tensors and measurements to figures and images."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dcgmm_cli.model import Shape
from dcgmm_cli.runs import write_whole


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
