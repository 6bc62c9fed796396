"""Pictures of completions.

Shapes: N images, H W pixels, C channels, M draws of each image.
"""

import torch
from torch import Tensor

from dcgmm_cli.figures.base import picture, tile


def completion_rows(
    images: Tensor,  # (N, H, W, C)
    observed: Tensor,  # (N, H, W) bool
    completed: Tensor,  # (M, N, H, W, C)
    variance: Tensor,  # (N, H, W, C)
) -> Tensor:  # (H', W', C)
    """A row an image: the image where it is known, what was seen of it, the completions, how unsure the model is.

    What is not known is grey; the last picture's white is the largest standard deviation of all.
    """
    grey = torch.full_like(images, 0.5)
    known = torch.where(images.isnan(), grey, images)
    masked = torch.where(observed.unsqueeze(-1), known, grey)
    deviation = variance.sqrt()
    unsure = deviation / deviation.max().clamp(min=1e-9)
    columns = [picture(each) for each in (known, masked, *completed, unsure)]
    return tile(torch.stack(columns, 1).flatten(0, 1), len(columns))
