"""What pictures of several commands are made with.

Shapes: N images, M components of a GMM layer (K, or H W K where each position has its own), H W pixels, C channels.
"""

import functools
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dcgmm.files import write_whole
from dcgmm.model import GMM

ENLARGE = 3  # pixels of a picture for one of an image
CELL = 72  # pixels that an image with words over it has across, at least
LABEL, GAP = 14, 4  # pixels of a line's height, and between numbered images


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    write_whole(path, lambda file: file.write(buffer.getvalue()))


def drawable(text: str, longest: int = 26) -> str:
    """A text from outside as figures draw it: no formula, what their font lacks is escaped, of a long one the end."""
    shown = "".join(sign if ord(sign) in _signs() else sign.encode("unicode_escape").decode() for sign in text)
    return (shown if len(shown) <= longest else f"...{shown[3 - longest :]}").replace("$", r"\$")


@functools.cache
def _signs() -> frozenset[int]:
    """Characters that the font of figures has."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def save_image(image: Tensor, path: Path, enlarge: int = 1) -> None:  # (H, W, C), C 1 or 3, in [0, 1]
    """Write an image as PNG, each pixel as a square of `enlarge` x `enlarge`."""
    pixels = image.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8)
    pixels = pixels.repeat_interleave(enlarge, 0).repeat_interleave(enlarge, 1)
    array: NDArray[Any] = pixels.squeeze(-1).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png")
    write_whole(path, lambda file: file.write(buffer.getvalue()))


def numbered(
    images: Tensor,  # (N, H, W, C), C 1 or 3
    enlarge: int,
    labels: Sequence[str] | None = None,
    columns: int | None = None,
) -> Image.Image:
    """Images in rows (as square as can be by default), each under its label: its number, from 0, by default."""
    count = len(images)
    columns = columns or math.ceil(math.sqrt(count))
    cells = images.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8)
    cells = cells.repeat_interleave(enlarge, 1).repeat_interleave(enlarge, 2).expand(-1, -1, -1, 3)
    return _sheet([Image.fromarray(cell.numpy()) for cell in cells], labels or [*map(str, range(count))], columns, GAP)


def _sheet(pictures: Sequence[Image.Image], labels: Sequence[str], columns: int, gap: int) -> Image.Image:
    """Pictures of one size in rows, each under its label."""
    font = ImageFont.load_default(LABEL - 2)
    across, down = max(pictures[0].width, LABEL * 2) + gap, pictures[0].height + LABEL + gap
    sheet = Image.new("RGB", (columns * across, math.ceil(len(pictures) / columns) * down), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = number % columns * across, number // columns * down
        draw.text((left + 1, top), label, fill="black", font=font)
        sheet.paste(picture, (left, top + LABEL))
    return sheet


def headed(
    rows: Tensor,  # (H', W', C), C 1 or 3, in [0, 1]
    headings: Sequence[str],
    enlarge: int,
) -> Image.Image:
    """Images in columns of equal width under their headings, which may have several lines."""
    pixels = rows.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).expand(-1, -1, 3)
    columns = Image.fromarray(pixels.repeat_interleave(enlarge, 0).repeat_interleave(enlarge, 1).numpy())
    top, width = LABEL * max(heading.count("\n") + 1 for heading in headings), columns.width / len(headings)
    sheet = Image.new("RGB", (columns.width, top + columns.height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LABEL - 2)
    for number, heading in enumerate(headings):
        draw.text(((number + 0.5) * width, top / 2), heading, "black", font, "mm", align="center")
    sheet.paste(columns, (0, top))
    return sheet


def enlarged(width: int) -> int:
    """How much an image of so many pixels is enlarged to have room for words over it; a large one is left as it is."""
    return math.ceil(CELL / width)


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet of labelled images as PNG."""
    buffer = io.BytesIO()
    sheet.save(buffer, format="png")
    write_whole(path, lambda file: file.write(buffer.getvalue()))


def save_grid(images: Tensor, path: Path) -> None:  # (N, H, W, C)
    """Write images side by side as one PNG."""
    save_image(tile(picture(images)), path, ENLARGE)


def tile(images: Tensor, columns: int | None = None, gap: int = 1) -> Tensor:  # (N, H, W, C) -> (H', W', C)
    """Images side by side in rows (as square as can be by default), with a mid-grey gap."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = images.new_full((rows * columns, height + gap, width + gap, channels), 0.5)
    cells[:count, :height, :width] = images
    sheet = cells.view(rows, columns, height + gap, width + gap, channels).movedim(2, 1)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), channels)
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


def save_components(images: Tensor, gmm: GMM, path: Path, enlarge: int) -> None:  # (M, H, W, C), C 1 or 3
    """Write pictures of all components of a GMM layer under their numbers; of positions with components of their own,
    each one's under its row and column."""
    sheets = [numbered(part, enlarge) for part in images.split(gmm.components)]
    if gmm.shared:
        save_sheet(sheets[0], path)
        return
    width = gmm.input_shape.width
    places = [f"{row}, {column}" for row, column in (divmod(place, width) for place in range(len(sheets)))]
    save_sheet(_sheet(sheets, places, width, 4 * GAP), path)


def component_label(gmm: GMM, index: int) -> str:
    """A component of all positions by its number, after the row and column of its position if it has one of its own."""
    place, number = divmod(index, gmm.components)
    row, column = divmod(place, gmm.input_shape.width)
    return str(number) if gmm.shared else f"{row}, {column}: {number}"


def picture(images: Tensor) -> Tensor:  # (N, H, W, C) -> (N, H, W, 1 or 3)
    """Images as they can be drawn: clamped to [0, 1], and in the mean of their channels unless these are 1 or 3."""
    clamped = images.clamp(0, 1)
    return clamped if clamped.shape[-1] in (1, 3) else clamped.mean(-1, keepdim=True)


def pixels_of(image: Tensor) -> NDArray[Any]:  # (H, W, 1 or 3) -> (H, W) or (H, W, 3)
    """An image as Matplotlib draws it: clamped to [0, 1], a single channel without its axis."""
    array: NDArray[Any] = image.detach().cpu().clamp(0, 1).numpy()
    return array.squeeze(-1) if array.shape[-1] == 1 else array
