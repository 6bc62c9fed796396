import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from dcgmm.model import GMM, Shape
from dcgmm_cli.figures.base import (
    GAP,
    LABEL,
    component_label,
    drawable,
    numbered,
    picture,
    pixels_of,
    save_components,
    save_grid,
    save_image,
    save_sheet,
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
    save_sheet(numbered(images, 3), tmp_path / "x.png")
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


def test_components_of_positions_lie_under_their_numbers_and_places(tmp_path: Path) -> None:
    gmm = GMM(Shape(2, 3, 5), components=4, shared=False)
    images = torch.rand(2 * 3 * 4, 6, 9, 1)
    save_components(images, gmm, tmp_path / "x.png", 4)
    with Image.open(tmp_path / "x.png") as image:
        pixels = np.asarray(image)
    own = [np.asarray(numbered(part, 4)) for part in images.split(4)]  # each position's
    height, width, _ = own[0].shape
    down, across = height + LABEL + 4 * GAP, width + 4 * GAP
    assert pixels.shape == (2 * down, 3 * across, 3)
    for place, sheet in enumerate(own):
        row, column = divmod(place, 3)
        cell = pixels[row * down :, column * across :][: LABEL + height, :width]
        assert np.array_equal(cell[LABEL:], sheet)
        assert cell[:LABEL].min() < 128  # row and column
    assert [component_label(gmm, index) for index in (0, 7, 23)] == ["0, 0: 0", "0, 1: 3", "1, 2: 3"]
    assert component_label(GMM(Shape(2, 3, 5), components=4), 3) == "3"


def test_labels_and_columns_of_ones_own() -> None:
    images = torch.ones(4, 20, 20, 1)
    sheet = np.asarray(numbered(images, 2, ["7", "", "", "9"], columns=2))
    assert sheet.shape == (2 * (40 + LABEL + GAP), 2 * (40 + GAP), 3)
    assert (sheet[:LABEL, 40 + GAP :] == 255).all()
    assert sheet[:LABEL, :40].min() < 128
