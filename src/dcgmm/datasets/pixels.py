"""Images out of image files, as arrays of bytes."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from dcgmm.datasets.names import enumerated
from dcgmm.datasets.rows import content
from dcgmm.images import outside

log = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
STRETCHED = 1.03  # an aspect ratio that is changed by a larger factor is told of
_TURNED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type xmp"}  # may say: it is turned


class ImageError(ValueError):
    """An image file cannot be used; the message says why."""


class Decoded(NamedTuple):
    """What an image file holds."""

    pixels: NDArray[np.uint8]  # (H, W, C)
    frames: int  # pictures in the file, of which the first was taken
    peak: int  # largest value of an integer image of more than 8 bits; 0 of others
    stretched: tuple[int, int] | None = None  # height and width of one that was resized to another aspect ratio


def decode(path: Path, color: bool, size: tuple[int, int] | None = None, white: int | None = None) -> Decoded:
    """Pixels of an image file, upright, C = 3 or 1; of an animation or of several pages the first.

    Transparent pixels lie over white. Palettes, CMYK and LAB become RGB (CMYK without colour management). Integer
    images of more than 8 bits have `white` as white, float images 1, with 0 as black.

    Args:
        path: the file, or a row of a Parquet file.
        color: three channels instead of one.
        size: height and width to resize to, with antialiasing.
        white: None is 65535.

    Raises:
        ImageError: the file is no readable image, or holds values that no image of its kind has.
    """
    try:
        with Image.open(content(path)) as file:
            frames = int(getattr(file, "n_frames", 1))
            file.load()
            turned = file.format == "TIFF" or not _TURNED.isdisjoint(file.info)
            image = ImageOps.exif_transpose(file) if turned else file.copy()
    except UnidentifiedImageError:
        raise ImageError("no readable image (its format is unknown)") from None
    except Exception as error:  # on a damaged file the decoders raise nearly anything
        raise ImageError(f"no readable image ({' '.join(str(error).split()) or type(error).__name__})") from None
    peak = 0
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        peak = 0 if values.dtype.kind == "f" else int(values.max())
        image = Image.fromarray(_to_bytes(values, white))
    image = _converted(image, "RGB" if color else "L")
    own, stretched = (image.height, image.width), None
    if size is not None and own != tuple(size):
        stretched = own if _is_stretched(own, size) else None
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return Decoded(pixels if color else pixels[:, :, np.newaxis], frames, peak, stretched)


def _is_stretched(own: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether resizing to a height and width changes the aspect ratio by more than rounding and cropping do."""
    one, other = own[0] * size[1], size[0] * own[1]
    return max(one, other) > STRETCHED * min(one, other)


def decode_mask(path: Path, size: tuple[int, int] | None) -> NDArray[np.bool_]:  # (H, W)
    """What a mask marks: all that is not black, brought to a height and width (None: its own) by the nearest pixel.

    Raises:
        ImageError: the file is no readable image.
    """
    marked = decode(path, False).pixels[:, :, 0] > 0
    if size is None:
        return marked
    return np.asarray(Image.fromarray(marked).resize((size[1], size[0]), Image.Resampling.NEAREST), bool)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and not image.has_transparency_data:
        return image
    try:
        if image.has_transparency_data:
            below = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(below, image.convert("RGBA"))
        elif image.mode == "LAB":
            image = ImageCms.applyTransform(image, _lab()) or image
        return image.convert(mode)
    except (ValueError, ImageCms.PyCMSError) as error:
        raise ImageError(f"its colours, {image.mode}, cannot be converted ({error})") from None


@functools.cache
def _lab() -> ImageCms.ImageCmsTransform:
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(*profiles, "LAB", "RGB")


def _to_bytes(values: NDArray[Any], white: int | None) -> NDArray[np.uint8]:
    limit = 1.0 if values.dtype.kind == "f" else white or 65_535
    if not np.isfinite(values).all():
        raise ImageError("it holds NaN or infinite values")
    if found := outside(float(values.min()), float(values.max()), limit):
        raise ImageError(f"it holds {found}, outside [0, {limit:g}]")
    return np.rint(values * (255 / limit)).astype(np.uint8)


def warn_of(source: object, count: int, failures: Sequence[tuple[str, str]], several: Sequence[str]) -> None:
    """Log which of `count` images of a source are left out and why, and of which files only the first picture is taken.

    Args:
        source: what they are images of.
        count: all images, usable or not.
        failures: names and reasons.
        several: names.
    """
    if failures:
        reasons = enumerated([f"{name}: {reason}" for name, reason in failures])
        log.warning("%s: left out %d of %d images: %s", source, len(failures), count, reasons)
    if several:
        what = "files hold several pictures (animated, or of several pages), of which the first is taken"
        log.warning("%s: %d %s: %s", source, len(several), what, enumerated(several))


def warn_of_stretched(source: object, count: int, sizes: Sequence[Sequence[int]], size: Sequence[int]) -> None:
    """Log how many of `count` images of a source came to a height and width of another aspect ratio than their own.

    Args:
        source, count: as for `warn_of`.
        sizes: their own heights and widths, of each of them.
        size: what they were resized to.
    """
    if sizes:
        own = enumerated([f"{height}x{width}" for height, width in dict.fromkeys(map(tuple, sizes))])
        what = "%s: %d of %d images had another aspect ratio (%s) and were stretched to %dx%d"
        log.warning(what, source, len(sizes), count, own, *size)
