import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from dcgmm_cli.figures.base import (
    GAP,
    LABEL,
    drawable,
    picture,
    pixels_of,
    save_grid,
    save_image,
    save_numbered,
    tile,
)


def test_tiles_stand_in_rows_with_grey_between_them() -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 4, 1)
    sheet = tile(images)
    assert sheet.shape == (2 * 2 + 1, 2 * 4 + 1, 1)
    assert torch.equal(sheet[0, :, 0], torch.tensor([0.0] * 4 + [0.5] + [1.0] * 4))
    assert torch.equal(sheet[3, :, 0], torch.tensor([2.0] * 4 + [0.5] * 5))
    assert tile(images, columns=3, gap=2).shape == (2, 3 * 4 + 2 * 2, 1)


@pytest.mark.parametrize(("channels", "drawn"), [(1, 1), (2, 1), (3, 3), (4, 1)])
def test_pictures_have_one_channel_or_three(channels: int, drawn: int) -> None:
    images = torch.linspace(-1, 2, 2 * channels).view(1, 2, 1, channels)
    shown = picture(images)
    assert shown.shape == (1, 2, 1, drawn)
    assert pixels_of(shown[0]).shape == ((2, 1) if drawn == 1 else (2, 1, 3))
    assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
    torch.testing.assert_close(shown.mean(-1), images.clamp(0, 1).mean(-1))


def test_images_are_written_enlarged(tmp_path: Path) -> None:
    save_image(torch.tensor([[0.0, 1.0], [0.5, 2.0]]).unsqueeze(-1), tmp_path / "image.png", enlarge=2)
    with Image.open(tmp_path / "image.png") as image:
        assert np.array_equal(np.asarray(image)[::2, ::2], [[0, 255], [128, 255]])
        assert image.size == (4, 4)
    save_grid(torch.rand(4, 5, 3, 3), tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert (image.size, image.mode) == ((3 * 7, 3 * 11), "RGB")


@pytest.mark.filterwarnings("error")  # of signs that the font lacks
def test_any_name_can_be_drawn() -> None:
    figure = Figure()
    names = ["$x_1$", "$broken{", "a$b", "日本", "\\xff\\n", "[red]:smile:", "naïve", "long" * 20]
    for number, name in enumerate(names):
        figure.text(0.1, 0.1 * number, drawable(name))
    figure.savefig(io.BytesIO())
    shown = [drawable(name) for name in names]
    assert shown[:3] == [r"\$x_1\$", r"\$broken{", r"a\$b"]
    assert shown[3] == r"\u65e5\u672c"
    assert shown[6] == "naïve"
    assert shown[7] == "..." + ("long" * 20)[-23:]


def test_numbered_images_lie_in_rows_under_their_numbers(tmp_path: Path) -> None:
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 6, 10, 1) / 4
    save_numbered(images, tmp_path / "x.png", 3)
    with Image.open(tmp_path / "x.png") as image:
        pixels = np.asarray(image)
    across, down = 10 * 3 + GAP, 6 * 3 + LABEL + GAP
    assert pixels.shape == (2 * down, 3 * across, 3)
    for number in range(5):
        row, column = divmod(number, 3)
        cell = pixels[row * down :, column * across :][: LABEL + 18, :30]
        assert (cell[LABEL:] == round(number / 4 * 255)).all()
        assert cell[:LABEL].min() < 128  # the number
    assert (pixels[down + LABEL :, 2 * across :] == 255).all()
