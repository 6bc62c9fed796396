"""Pictures of samples.

Shapes: N images, H W pixels, C channels, M drawn images.
"""

import torch
from PIL import Image
from torch import Tensor

from dcgmm_cli.figures.base import enlarged, headed, picture, tile

ROWS, COLUMNS = 10, 10  # originals, and variants of each


def variant_rows(
    originals: Tensor,  # (N, H, W, C)
    variants: Tensor,  # (M, H, W, C), M >= N
    index: Tensor,  # (M,), of the original of each
) -> Image.Image:
    """A row an original, the first in it, then variants of it."""
    each = min(COLUMNS, len(variants) // len(originals))
    lines = []
    for row, original in enumerate(originals[:ROWS]):
        lines += [original[None], variants[index == row][:each]]
    headings = ["original", "variants", *[""] * (each - 1)]
    return headed(tile(picture(torch.cat(lines)), 1 + each), headings, enlarged(originals.shape[2]))
