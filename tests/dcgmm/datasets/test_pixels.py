from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcgmm.datasets.pixels import ImageError, image_files, read_pixels


def _save(path: Path, array: Any, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def _random(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_grey_and_colour_come_out_unchanged(tmp_path: Path) -> None:
    grey, colour = _random(5, 4), _random(5, 4, 3)
    np.testing.assert_array_equal(read_pixels(_save(tmp_path / "g.png", grey), color=False), grey[..., np.newaxis])
    np.testing.assert_array_equal(read_pixels(_save(tmp_path / "c.png", colour), color=True), colour)


def test_one_is_made_of_the_other(tmp_path: Path) -> None:
    grey, colour = _random(5, 4), _random(5, 4, 3)
    pixels = read_pixels(_save(tmp_path / "g.png", grey), color=True)
    np.testing.assert_array_equal(pixels, np.repeat(grey[..., np.newaxis], 3, axis=2))
    pixels = read_pixels(_save(tmp_path / "c.png", colour), color=False)
    luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R 601-2
    np.testing.assert_allclose(pixels[..., 0], luma, atol=1)


def test_transparency_is_ignored(tmp_path: Path) -> None:
    pixels = _random(5, 4, 4)
    np.testing.assert_array_equal(read_pixels(_save(tmp_path / "a.png", pixels), color=True), pixels[..., :3])


def test_more_than_eight_bits_are_scaled(tmp_path: Path) -> None:
    words = np.array([[0, 257, 65_535, 128 * 257]], np.uint16)
    assert read_pixels(_save(tmp_path / "w.png", words), color=False).ravel().tolist() == [0, 1, 255, 128]
    floats = np.array([[0, 1 / 255, 1, 0.5]], np.float32)
    assert read_pixels(_save(tmp_path / "f.tif", floats), color=False).ravel().tolist() == [0, 1, 255, 128]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, np.nan]], "NaN or infinite"),
        ([[0.5, np.inf]], "NaN or infinite"),
        ([[0.5, 1.5]], r"from 0.5 to 1.5, outside \[0, 1\]"),
        ([[-0.5, 0.5]], r"from -0.5 to 0.5, outside \[0, 1\]"),
    ],
)
def test_values_that_no_image_has_are_refused(tmp_path: Path, values: list[list[float]], message: str) -> None:
    path = _save(tmp_path / "f.tif", np.array(values, np.float32))
    with pytest.raises(ImageError, match=message):
        read_pixels(path, color=False)


def test_resizing_goes_to_height_and_width_and_averages(tmp_path: Path) -> None:
    # A fine checkerboard turns grey: without antialiasing it would turn black or white.
    board = (np.indices((40, 60)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = read_pixels(_save(tmp_path / "b.png", board), color=False, size=(4, 10))
    assert pixels.shape == (4, 10, 1)
    np.testing.assert_allclose(pixels, 127.5, atol=10)


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to show
    pixels = _random(5, 4)
    path = _save(tmp_path / "p.png", pixels, exif=exif)
    np.testing.assert_array_equal(read_pixels(path, color=False)[..., 0], np.rot90(pixels, -1))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageError, match="no readable image"):
        read_pixels(tmp_path / "x.png", color=False)


def test_an_image_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "x.png", _random(40, 40))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match="no readable image"):
        read_pixels(path, color=False)


def test_image_files_are_sorted_and_others_passed_over(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.tif", "notes.txt", ".hidden.png", ".cache/d.png", "e.png/f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)] == ["a.JPG", "b.png", "sub/c.tif"]
