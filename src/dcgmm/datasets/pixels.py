"""Images out of image files, as arrays of bytes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")


class ImageError(ValueError):
    """An image file cannot be used; the message says why."""


def image_files(folder: Path) -> list[Path]:
    """All image files in a folder and its sub-folders, sorted; what is hidden is passed over."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_pixels(path: Path, color: bool, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Pixels (H, W, C) of an image file, upright, C = 3 or 1, transparency ignored.

    Integer images of more than 8 bits have 65535 as white; float images 1, with 0 as black.

    Args:
        path: the file.
        color: three channels instead of one.
        size: height and width to resize to, with antialiasing.

    Raises:
        ImageError: the file is no readable image, or holds values that no image of its kind has.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    except Exception as error:  # on a damaged file the decoders raise nearly anything
        raise ImageError(f"no readable image ({' '.join(str(error).split()) or type(error).__name__})") from None
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    image = image.convert("RGB" if color else "L")
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels if color else pixels[:, :, np.newaxis]


def _to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    white = 1.0 if values.dtype.kind == "f" else 65_535
    if not np.isfinite(values).all():
        raise ImageError("it holds NaN or infinite values")
    if values.min() < 0 or values.max() > white:
        raise ImageError(f"its values run from {values.min():g} to {values.max():g}, outside [0, {white:g}]")
    return np.rint(values * (255 / white)).astype(np.uint8)
