from pathlib import Path

import numpy as np
from PIL import Image

from experiments.paper.pictures import GAP, MAX_BYTES, RED, duplicates, framed_sheet, save_png, save_small_copy


def test_a_large_picture_is_made_small_enough(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > MAX_BYTES
    save_small_copy(tmp_path / "large.png", tmp_path / "small.png")
    assert (tmp_path / "small.png").stat().st_size <= MAX_BYTES


def test_a_small_picture_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save_png(Image.fromarray(pixels), tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_duplicates_chose_the_same_component_everywhere() -> None:
    components = np.array([[[1, 2]], [[2, 1]], [[1, 2]], [[1, 1]]])
    assert duplicates(components).tolist() == [True, False, True, False]


def test_a_frame_goes_around_its_image() -> None:
    images = np.stack([np.full((4, 3), value) for value in (0.1, 0.2, 0.3)])
    sheet = framed_sheet(images, np.array([False, True, False]))
    assert sheet.shape == (2 * (4 + GAP) + GAP, 2 * (3 + GAP) + GAP, 3)
    assert np.all(sheet[GAP : GAP + 4, GAP : GAP + 3] == 0.1)
    second = slice(3 + 2 * GAP, 6 + 2 * GAP)
    assert np.all(sheet[GAP : GAP + 4, second] == 0.2)
    assert np.allclose(sheet[0, second], RED)
    assert np.allclose(sheet[GAP + 4, second], RED)
    assert np.allclose(sheet[0, GAP], 0.5)  # no frame around the first
