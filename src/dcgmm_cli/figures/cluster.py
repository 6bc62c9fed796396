"""Pictures of a clustering.

Shapes: N images, H W pixels, C channels, M clusters, G classes.
"""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dcgmm.images import to_float
from dcgmm_cli.figures.base import drawable, picture, pixels_of, tile

CELL = 0.42  # inches of an image


def image_rows(images: Tensor, rows: Mapping[int, Tensor], sizes: Sequence[int], columns: int) -> Figure:
    """A row of images a cluster; a cluster with fewer images leaves the rest of its row grey.

    Args:
        images: (N, H, W, C), uint8 or float in [0, 1].
        rows: by cluster the images to show.
        sizes: images of each cluster.
        columns: images of a full row.
    """
    shown = picture(to_float(images, torch.float32))
    cells = shown.new_full((len(rows), columns, *shown.shape[1:]), 0.5)
    for line, chosen in zip(cells, rows.values(), strict=True):
        line[: len(chosen)] = shown[chosen]
    figure = Figure(figsize=(CELL * columns + 1.6, CELL * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(pixels_of(tile(cells.flatten(0, 1), columns)), cmap="gray", vmin=0, vmax=1)
    step = cells.shape[2] + 1
    texts = [f"{label}: {size} image{'s' * (size != 1)}" for label, size in zip(rows, sizes, strict=True)]
    axes.set_yticks([step * line + step / 2 for line in range(len(rows))], texts, fontsize=7)
    axes.set_xticks([])
    axes.tick_params(length=0)
    return figure


def class_matrix(counts: Tensor, labels: Sequence[int], names: Sequence[str]) -> Figure:  # (M, G)
    """Images by cluster and class: the colour is the share of the cluster, the number counts images."""
    shares = counts / counts.sum(1, keepdim=True)
    figure = Figure(figsize=(0.5 * len(names) + 1.8, 0.24 * len(labels) + 1.4), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(counts.tolist()):
        for column, count in enumerate(line):
            if count:
                color = "white" if shares[row, column] > 0.6 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=6, color=color)
    shown_names = [drawable(name) for name in names]
    axes.set_xticks(range(len(names)), shown_names, rotation=90 if max(map(len, names)) > 3 else 0, fontsize=7)
    axes.set_yticks(range(len(labels)), [str(label) for label in labels], fontsize=7)
    axes.set(xlabel="class", ylabel="cluster")
    figure.colorbar(shown, ax=axes, label="share of the cluster")
    return figure
