from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcgmm.datasets.pixels import ImageError, decode, decode_mask


def read_pixels(path: Path, color: bool, size: tuple[int, int] | None = None, white: int | None = None) -> Any:
    return decode(path, color, size, white).pixels


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


def test_what_is_transparent_lies_over_white(tmp_path: Path) -> None:
    pixels = _random(5, 4, 4)
    opaque, alpha = pixels.copy(), pixels[..., 3:] / 255
    opaque[..., 3] = 255
    np.testing.assert_array_equal(read_pixels(_save(tmp_path / "o.png", opaque), color=True), pixels[..., :3])
    blended = pixels[..., :3] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(read_pixels(_save(tmp_path / "a.png", pixels), color=True), blended, atol=1)
    grey = np.stack([np.full((5, 4), 100, np.uint8), pixels[..., 3]], -1)
    blended = 100 * alpha[..., 0] + 255 * (1 - alpha[..., 0])
    np.testing.assert_allclose(read_pixels(_save(tmp_path / "g.png", grey), color=False)[..., 0], blended, atol=1)
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    palette.putpalette([10, 10, 10, 20, 20, 20, 30, 30, 30])
    palette.save(tmp_path / "p.png", transparency=1)
    assert read_pixels(tmp_path / "p.png", color=False).ravel().tolist() == [10, 255, 30]


def test_other_colours_become_those_of_a_screen(tmp_path: Path) -> None:
    colours = np.array([[[200, 30, 30], [30, 160, 40], [20, 40, 200], [128, 128, 128]]], np.uint8)
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "c.tif")
    np.testing.assert_array_equal(read_pixels(tmp_path / "c.tif", color=True), colours)
    # L, a and b of the sRGB values above (CIE 15, D50), as TIFF keeps them: L * 255 / 100, a and b in two's complement.
    lab = np.array([[[43, 65, 45], [58, -54, 46], [27, 44, -84], [54, 0, 0]]], np.float64)
    stored = np.stack([lab[..., 0] * 2.55, lab[..., 1] % 256, lab[..., 2] % 256], -1).astype(np.uint8)
    Image.fromarray(stored, "LAB").save(tmp_path / "l.tif")
    np.testing.assert_allclose(read_pixels(tmp_path / "l.tif", color=True).astype(int), colours, atol=16)
    assert read_pixels(tmp_path / "l.tif", color=False).shape == (1, 4, 1)
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    bits.save(tmp_path / "b.png")
    assert read_pixels(tmp_path / "b.png", color=False).ravel().tolist() == [0, 255]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_an_animation_or_of_pages_the_first_is_taken(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 6), (value,) * 3) for value in (0, 200, 100)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    found = decode(tmp_path / name, color=False)
    assert (found.frames, found.pixels.max()) == (3, 0)
    frames[1].save(tmp_path / name)
    assert decode(tmp_path / name, color=False).frames == 1


def test_more_than_eight_bits_are_scaled(tmp_path: Path) -> None:
    words = np.array([[0, 257, 65_535, 128 * 257]], np.uint16)
    assert read_pixels(_save(tmp_path / "w.png", words), color=False).ravel().tolist() == [0, 1, 255, 128]
    twelve = _save(tmp_path / "t.png", np.array([[0, 4095, 2048]], np.uint16))
    assert decode(twelve, color=False, white=4095).pixels.ravel().tolist() == [0, 255, 128]
    assert decode(twelve, color=False).peak == 4095
    with pytest.raises(ImageError, match=r"from 0 to 65535, outside \[0, 4095\]"):
        decode(tmp_path / "w.png", color=False, white=4095)
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


def test_a_mask_marks_what_is_not_black(tmp_path: Path) -> None:
    marks = np.zeros((4, 6), np.uint8)
    marks[1, 2], marks[3, 5] = 1, 255
    Image.fromarray(marks).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(decode_mask(tmp_path / "mask.png", (4, 6)), marks > 0)
    np.testing.assert_array_equal(decode_mask(tmp_path / "mask.png", (8, 12)), (marks > 0).repeat(2, 0).repeat(2, 1))
