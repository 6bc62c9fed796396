"""What is seen of images, as `mask` says it.

Shapes: N images, H W pixels, C channels.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dcgmm.datasets.pixels import SUFFIXES, ImageError, decode_mask
from dcgmm.errors import InputError, OptionError
from dcgmm.generation.masks import observed_part
from dcgmm.generation.options import AREAS
from dcgmm_cli.array_files import read_array

NAN = "nan"


def check_mask(mask: str | None, share: float | None, input: str | None) -> None:
    """Check that what is given goes together, before anything is read.

    Raises:
        InputError: it does not.
    """
    if mask not in AREAS and share is not None:
        given = "null" if mask is None else mask
        raise InputError(f"share={share} has no effect with mask={given}: it goes with {', '.join(AREAS)}")
    if mask == NAN and input is None:
        raise InputError("mask=nan takes what is NaN in the array of input=: give one")


def read_observed(
    mask: str, images: Tensor, *, share: float | None, seed: int, resize: bool
) -> Tensor:  # (N, H, W) bool
    """What is seen of each image.

    Args:
        mask: an area, a file, or nan.
        images: (N, H, W, C); with nan, NaN where nothing was seen.
        share, seed: of an area.
        resize: whether a picture is brought to the images' size, as image files were.

    Raises:
        InputError: the mask cannot be read, or has another shape.
    """
    count, height, width, _ = images.shape
    if mask in AREAS:
        return observed_part(mask, height, width, count, share=share, seed=seed)
    observed = ~images.isnan().any(-1) if mask == NAN else ~_mask_file(mask, (height, width) if resize else None)
    if observed.dim() not in (2, 3) or tuple(observed.shape[-2:]) != (height, width):
        found = "x".join(map(str, observed.shape)) or "one"
        raise OptionError("mask", f"a mask of {height}x{width} pixels, or one for each image", f"one of {found}")
    if observed.dim() == 3 and len(observed) not in (1, count):
        raise OptionError("mask", f"one mask, or one for each of {count} images", f"{len(observed)} masks")
    return observed.expand(count, height, width)


def _mask_file(path: str, size: tuple[int, int] | None) -> Tensor:  # (H, W) or (N, H, W) bool, True if missing
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"mask={path} is no file: give one, or one of {', '.join((*AREAS, NAN))}")
    if file.suffix == ".npy":
        array = read_array("mask", path, "mask")
    elif file.suffix.lower() in SUFFIXES:
        try:
            array = decode_mask(file, size)
        except ImageError as error:
            raise InputError(f"mask={path} cannot be read: {error}") from None
    else:
        raise InputError(f"mask={path} is neither a .npy file nor a picture ({', '.join(SUFFIXES)})")
    if array.dtype.kind not in "bui" and not (array.dtype.kind == "f" and np.isfinite(array).all()):
        raise InputError(f"mask={path} holds values that are no truth values or finite numbers")
    return torch.from_numpy(np.asarray(array != 0))
