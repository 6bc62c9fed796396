"""Pictures of what sharpening did.

Shapes: N images, H W pixels, C channels.
"""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dcgmm.generation.sharpening import Sharpened
from dcgmm_cli.figures.base import ENLARGE, enlarged, headed, picture, tile

GAP = 4  # image pixels between grids


def side_by_side(before: Tensor, after: Tensor) -> Image.Image:  # (N, H, W, C), (N, H, W, C)
    """Grids of the images before and after, and of the difference: grey is none, brighter is more (Figure 5)."""
    first, second = picture(before), picture(after)
    grids = [tile(images) for images in (first, second, (second - first) / 2 + 0.5)]
    headings, enlarge = ["before", "after", "difference"], max(ENLARGE, enlarged(grids[0].shape[1]))
    return headed(tile(torch.stack(grids), 3, GAP), headings, enlarge)


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
