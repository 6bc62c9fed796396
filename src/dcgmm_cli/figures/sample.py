"""Pictures of samples.

Shapes: N images, H W pixels, C channels, M drawn images.
"""

import torch
from torch import Tensor

from dcgmm_cli.figures.base import picture, tile

ROWS, COLUMNS = 10, 10  # originals, and variants of each


def variant_rows(
    originals: Tensor,  # (N, H, W, C)
    variants: Tensor,  # (M, H, W, C), M >= N
    index: Tensor,  # (M,), of the original of each
) -> Tensor:  # (H', W', C)
    """A row an original, the first in it, then variants of it."""
    each = min(COLUMNS, len(variants) // len(originals))
    lines = []
    for row, original in enumerate(originals[:ROWS]):
        lines += [original[None], variants[index == row][:each]]
    return tile(picture(torch.cat(lines)), 1 + each)
