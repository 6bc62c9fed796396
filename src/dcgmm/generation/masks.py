"""Which pixels of an image are taken for seen, where a part of it is to be completed.

Shapes: N images, H W pixels.
"""

import math

import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.generation.options import AREAS
from dcgmm.options import checked_seed

SHARE, CENTRE_SHARE = 0.5, 0.25


def observed_part(
    area: str, height: int, width: int, count: int, *, share: float | None = None, seed: int = 0
) -> Tensor:  # (N, H, W) bool
    """A mask an image, False in what is to be missing.

    Args:
        area: right, left, top, bottom, centre (a rectangle of the image's proportions), or random (pixels of each
            image of their own).
        height: H, pixels.
        width: W, pixels.
        count: N, the number of images.
        share: about this share of the pixels is missing, whole rows and columns but for random; None: half of them,
            of centre a quarter.
        seed: of what is random.

    Returns:
        (N, H, W) truth values.

    Raises:
        OptionError: there is no such area, the share is not in (0, 1), or leaves nothing to see or to complete.

    Examples:
        >>> import dcgmm
        >>> dcgmm.generation.observed_part("right", 1, 4, 1).tolist()
        [[[True, True, False, False]]]
    """
    if area not in AREAS:
        raise OptionError("area", f"one of {', '.join(AREAS)}", area)
    share = (CENTRE_SHARE if area == "centre" else SHARE) if share is None else share
    if not 0 < share < 1:
        raise OptionError("share", "a number above 0 and below 1", share)
    if area == "random":
        generator = torch.Generator().manual_seed(checked_seed(seed))
        drawn = torch.rand(count, height * width, generator=generator, dtype=torch.float32)
        missing = (drawn.argsort(-1) < round(share * height * width)).view(count, height, width)
    else:
        rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
        high, wide = round(share * height), round(share * width)
        if area == "centre":
            high, wide = round(math.sqrt(share) * height), round(math.sqrt(share) * width)
        above, before = (height - high) // 2, (width - wide) // 2
        inside = {
            "right": columns >= width - wide,
            "left": columns < wide,
            "top": rows < high,
            "bottom": rows >= height - high,
            "centre": (rows >= above) & (rows < above + high) & (columns >= before) & (columns < before + wide),
        }[area]
        missing = inside.expand(count, height, width)
    if count and not 0 < int(missing[0].sum()) < height * width:
        what = "all" if missing.any() else "none"
        raise OptionError("share", f"such that some of {height}x{width} pixels are missing", f"{share}: {what}")
    return ~missing
