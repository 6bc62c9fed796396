"""Pictures of completions.

Shapes: N images, H W pixels, C channels, M draws of each image.
"""

import torch
from PIL import Image
from torch import Tensor

from dcgmm_cli.figures.base import enlarged, headed, picture, tile


def completion_rows(
    images: Tensor,  # (N, H, W, C)
    observed: Tensor,  # (N, H, W) bool
    completed: Tensor,  # (2 + M, N, H, W, C): mean, most likely, draws
    variance: Tensor,  # (N, H, W, C)
) -> Image.Image:
    """A row an image: the image where it is known, what was seen of it, the completions, how unsure the model is.

    What is not known is grey; the last picture's white is the largest standard deviation of all.
    """
    names = ["original", "seen", *headings(len(completed) - 2, float(variance.max().sqrt()))]
    grey = torch.full_like(images, 0.5)
    known = torch.where(images.isnan(), grey, images)
    masked = torch.where(observed.unsqueeze(-1), known, grey)
    deviation = variance.sqrt()
    unsure = deviation / deviation.max().clamp(min=1e-9)
    columns = [picture(each) for each in (known, masked, *completed, unsure)]
    return headed(tile(torch.stack(columns, 1).flatten(0, 1), len(columns)), names, enlarged(images.shape[2]))


def headings(draws: int, largest: float) -> list[str]:
    """Of the completions, and of the last column: what its white is."""
    return [
        "mean",
        "most likely",
        *(f"draw {number + 1}" for number in range(draws)),
        f"std of draws\n0 to {largest:.2g}",
    ]
