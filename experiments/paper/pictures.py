"""Pictures of the report: drawn from what was collected, or taken from the commands and made small."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dcgmm.files import write_whole
from experiments.paper.published import DATASETS, DEEP_NON_CONVOLUTIONAL, FLAT

MAX_BYTES = 290_000  # of a committed picture
GAP = 2  # pixels between images
RED = (0.85, 0.1, 0.1)

Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG file of at most `MAX_BYTES`: fewer colours where it would be larger, then fewer pixels."""
    content = _png(image)
    if len(content) > MAX_BYTES:
        image = image.convert("RGB").quantize(64)
        content = _png(image)
    while len(content) > MAX_BYTES:
        image = image.convert("RGB")
        image = image.resize((image.width * 4 // 5, image.height * 4 // 5)).quantize(64)
        content = _png(image)
    write_whole(path, lambda file: file.write(content))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def save_small_copy(source: Path, path: Path) -> None:
    """Write a command's picture."""
    with Image.open(source) as image:
        save_png(image, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    buffer.seek(0)
    save_png(Image.open(buffer), path)


def detection_curves(
    curves: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],  # data set: architecture: axis: values
    marks: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
) -> Figure:
    """Figure 3: inliers kept against outliers removed, means over runs in %, with whole values of c as dots."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    for axes, (dataset, title) in zip(figure.subplots(1, len(DATASETS)), DATASETS.items(), strict=True):
        for number, (arch, curve) in enumerate(curves.get(dataset, {}).items()):
            style = ":" if arch in FLAT else "--" if arch in DEEP_NON_CONVOLUTIONAL else "-"
            axes.plot(curve["inliers_kept"], curve["outliers_removed"], style, color=f"C{number}", label=arch)
            dots = marks[dataset][arch]
            axes.plot(dots["inliers_kept"], dots["outliers_removed"], "o", ms=3, color=f"C{number}")
        axes.plot([0, 100], [100, 0], color="0.8", lw=0.8, zorder=0)  # what chance gives
        axes.set(title=title, xlim=(0, 100), ylim=(0, 102), xlabel="inliers kept (%)", ylabel="outliers removed (%)")
    shown = dict(label[::-1] for axes in figure.axes for label in zip(*axes.get_legend_handles_labels(), strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside right upper")
    return figure


def sample_panels(rows: Sequence[tuple[str, Sequence[tuple[str, Floats, Booleans]]]]) -> Figure:
    """Rows of panels; a panel is a title, images (N, H, W) in [0, 1], and which of them (N,) are framed in red."""
    columns = max(len(panels) for _, panels in rows)
    figure = Figure(figsize=(2.5 * columns, 2.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, panels) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.set_frame_on(False)
        for axes, (title, images, framed) in zip(line, panels, strict=False):
            axes.imshow(framed_sheet(images, framed), interpolation="nearest")
            axes.set_title(title, fontsize="medium")
        line[0].set_ylabel(label, fontsize="medium")
    return figure


def framed_sheet(images: Floats, framed: Booleans) -> Floats:  # (N, H, W), (N,) -> (H', W', 3)
    """Images in rows, as square as can be, grey between them; some with a red frame."""
    count, height, width = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    lines = -(-count // columns)
    sheet = np.full((lines * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 0.5)
    for number, frame in enumerate(framed):
        top, left = (number // columns) * (height + GAP), (number % columns) * (width + GAP)
        if frame:
            sheet[top : top + height + 2 * GAP, left : left + width + 2 * GAP] = RED
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + GAP) + GAP, (number % columns) * (width + GAP) + GAP
        sheet[top : top + height, left : left + width] = image[..., None]
    return sheet


def duplicates(components: NDArray[np.integer[Any]]) -> Booleans:  # (N, H, W) -> (N,)
    """Which samples chose the same component at every position as another one: without noise they are equal."""
    flat = components.reshape(len(components), -1)
    _, inverse, counts = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    found: Booleans = counts[inverse.reshape(-1)] > 1
    return found
