"""Images as the library takes them: arrays or tensors, checked once, scaled batch by batch.

Shapes: N images, H W pixels, C channels.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.errors import OptionError

Images = Tensor | NDArray[Any]  # (N, H, W, C), or (N, H, W) for one channel; uint8, or floats in [0, 1]
ROUNDING = 1e-6  # floats may lie outside [0, 1] by as much: scaling to it rounds


def as_images(images: Images, shape: tuple[int, int, int] | None = None) -> Tensor:  # (N, H, W, C)
    """Images as a tensor of bytes or floats, without a copy where that can be.

    Args:
        images: (N, H, W, C), or (N, H, W) for one channel: uint8, or floats in [0, 1].
        shape: height, width and channels that they must have; None takes any.

    Raises:
        OptionError: they have another shape or type, hold NaN, or values outside [0, 1] by more than 1e-6, or are a
            masked array, whose mask would be lost.

    Examples:
        >>> as_images(np.zeros((5, 28, 28), np.uint8)).shape
        torch.Size([5, 28, 28, 1])
    """
    given = as_tensor(images, shape)
    if given.is_floating_point() and given.numel() and (values := outside(*map(float, given.detach().aminmax()))):
        raise OptionError("images", "uint8, or floats in [0, 1]", values)
    return given


def as_tensor(images: Images, shape: Sequence[int] | None = None) -> Tensor:  # (N, H, W, C)
    """`as_images` whatever their values are: not all of them may have been seen."""
    given = _checked(images)
    if given.dim() == 3:
        given = given.unsqueeze(-1)
    found = f"({', '.join(map(str, images.shape))})"
    if given.dim() != 4:
        raise OptionError("images", "of shape (N, H, W, C) or (N, H, W)", found)
    if shape is not None and tuple(given.shape[1:]) != tuple(shape):
        raise OptionError("images", f"of shape (N, {', '.join(map(str, shape))}), as the model takes them", found)
    return given


def outside(least: float, most: float, limit: float = 1.0) -> str | None:
    """What values are, in words, that lie outside [0, limit] by more than rounding, or are NaN; else None."""
    if least >= -ROUNDING and most <= limit + ROUNDING:
        return None
    return "NaN" if least != least else f"values from {least:.7g} to {most:.7g}"


def side_by_side(images: Images, observed: Images | None, shape: tuple[int | str, ...]) -> Tensor:
    """Images (R, N, H, W, C) for models side by side, floats, as they are.

    Args:
        images, observed: as given.
        shape: that they must have, with "N" for the number of samples.

    Raises:
        OptionError: they are no tensor of that shape, or there is a mask.
    """
    if not isinstance(images, Tensor) or (*images.shape[:-4], "N", *images.shape[-3:]) != shape:
        raise OptionError("images", f"a tensor of shape {shape}", tuple(images.shape))
    if observed is not None:
        raise OptionError("observed", "None for models side by side", "a mask")
    return images


def as_mask(
    observed: Images,
    size: Sequence[int],  # (H, W)
    count: int | None = None,
) -> Tensor:  # (N, H, W) bool
    """Which pixels of images were seen, a mask an image.

    Args:
        observed: (N, H, W) or (H, W): truth values, or finite numbers, of which 0 says that a pixel was not seen.
        size: height and width that they must have.
        count: of the images, which one mask may stand for; None takes any number.

    Raises:
        OptionError: it has another shape or holds something else.

    Examples:
        >>> as_mask(np.array([[1, 0], [1, 1]]), (2, 2), 3).shape
        torch.Size([3, 2, 2])
    """
    mask = _truth(observed)
    height, width = size
    if mask.dim() not in (2, 3) or tuple(mask.shape[-2:]) != (height, width):
        found = "x".join(map(str, mask.shape)) or "a single value"
        raise OptionError("observed", f"of shape (N, {height}, {width}) or ({height}, {width})", found)
    mask = mask if mask.dim() == 3 else mask.unsqueeze(0)
    if count is not None and len(mask) not in (1, count):
        raise OptionError("observed", f"one mask, or one for each of {count} images", f"{len(mask)} masks")
    return mask if count is None else mask.expand(count, height, width)


_TYPES = {torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64}
_ARRAYS = [np.dtype(name) for name in ("uint8", "float16", "float32", "float64")]


def _checked(images: Any) -> Tensor:
    """Images as a tensor of a type that they may have, dense and in memory."""
    masked = isinstance(images, np.ma.MaskedArray)
    given = _tensor(images) if isinstance(images, np.ndarray) and images.dtype in _ARRAYS and not masked else images
    if not isinstance(given, Tensor):
        what = f"{type(images).__name__} of {images.dtype}" if hasattr(images, "dtype") else type(images).__name__
        raise OptionError("images", "an array or tensor of uint8 or floats in [0, 1]", what)
    _require_dense("images", given)
    if given.dtype not in _TYPES:
        raise OptionError("images", "of uint8 or floats in [0, 1]", str(given.dtype).removeprefix("torch."))
    return given


def _truth(observed: Any) -> Tensor:
    if isinstance(observed, Tensor):
        _require_dense("observed", observed)
        known, found = not observed.is_complex() and bool(observed.isfinite().all()), observed != 0
    else:
        array = np.asarray(observed)
        known = array.dtype.kind in "buif" and bool(np.isfinite(array).all())
        found = torch.from_numpy(np.asarray(array != 0)) if known else torch.empty(0)
    if not known:
        raise OptionError("observed", "truth values or finite numbers", f"{type(observed).__name__} of others")
    return found


def _require_dense(field: str, given: Tensor) -> None:
    if given.layout != torch.strided or given.is_meta:
        found = "without values" if given.is_meta else str(given.layout).removeprefix("torch.")
        raise OptionError(field, "a dense tensor", found)


def _tensor(images: NDArray[Any]) -> Tensor:
    forward = images if all(stride >= 0 for stride in images.strides) else images.copy()  # tensors run forward only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing here writes to images that are not to be written to
        return torch.from_numpy(forward)


def to_float(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images as floats in [0, 1]: uint8 is divided by 255."""
    scaled = images.to(dtype)
    return scaled.mul_(1 / 255) if images.dtype == torch.uint8 else scaled


def image_batches(images: Tensor, batch_size: int, dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    """Images (N, H, W, C), uint8 or float in [0, 1], in batches scaled to [0, 1] on a device, to which bytes go."""
    for start in range(0, len(images), batch_size):
        yield to_float(images[start : start + batch_size].to(device), dtype)


def raised(x: Tensor, exponent: float) -> Tensor:  # any shape
    """Values to the power of an exponent, negative ones taken for 0; the same tensor for 1."""
    # Not 0 but the smallest number that is not: there a power has a derivative.
    return x if exponent == 1 else x.clamp(min=torch.finfo(x.dtype).tiny).pow(exponent)
