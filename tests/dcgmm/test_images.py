from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcgmm.errors import OptionError
from dcgmm.images import as_images, as_mask, image_batches, to_float
from tests.refusals import check_option

CPU = torch.device("cpu")

FLOATS = ["float16", "float32", "float64"]


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def refused(images: Any, shape: tuple[int, int, int] | None = None) -> OptionError:
    with pytest.raises(OptionError) as error:
        as_images(images, shape)
    assert error.value.field == "images"
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize("dtype", ["uint8", *FLOATS])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_and_tensors_are_taken_as_they_are(dtype: str, channels: int) -> None:
    given = pixels(5, 4, 6, channels)
    given = given if dtype == "uint8" else (given / 255).to(getattr(torch, dtype))
    for images in (given, given.numpy()):
        taken = as_images(images, (4, 6, channels))
        assert torch.equal(taken, given)
        assert taken.dtype is given.dtype
        assert taken.data_ptr() == given.data_ptr()  # no copy


def test_images_of_another_number_type_of_torch() -> None:
    given = (pixels(5, 4, 6, 1) / 255).bfloat16()
    assert torch.equal(as_images(given), given)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_images_without_channels_have_one(dtype: str) -> None:
    given = pixels(5, 4, 6) if dtype == "uint8" else pixels(5, 4, 6).double() / 255
    for images in (given, given.numpy()):
        taken = as_images(images, (4, 6, 1))
        assert taken.shape == (5, 4, 6, 1)
        assert torch.equal(taken[..., 0], given)
    assert refused(given, (4, 6, 3)).value == "(5, 4, 6)"


def test_no_images_are_images() -> None:
    for images in (torch.zeros(0, 4, 6, 1), np.zeros((0, 4, 6)), pixels(0, 4, 6, 1)):
        assert as_images(images, (4, 6, 1)).shape == (0, 4, 6, 1)


@pytest.mark.parametrize("shape", [(), (4,), (4, 6), (2, 3, 4, 6, 1)])
def test_other_dimensions(shape: tuple[int, ...]) -> None:
    for images in (torch.zeros(shape), np.zeros(shape, np.uint8)):
        error = refused(images)
        assert error.rule == "of shape (N, H, W, C) or (N, H, W)"


@pytest.mark.parametrize("shape", [(6, 4, 1), (4, 6, 3), (4, 5, 1)])
def test_another_shape_than_is_wanted(shape: tuple[int, int, int]) -> None:
    check_option(refused(pixels(5, 4, 6, 1), shape), "images", (5, 4, 6, 1), f"(N, {', '.join(map(str, shape))})")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 1.01, 255.0])
def test_values_that_are_no_pixels(dtype: str, value: float) -> None:
    images = np.full((3, 4, 6, 1), 0.5, dtype)
    images[1, 2, 3] = value
    for given in (images, torch.from_numpy(images)):
        error = refused(given)
        assert error.rule == "uint8, or floats in [0, 1]"
        assert ("NaN" in str(error)) == np.isnan(value)


def test_the_ends_of_the_range_are_in_it() -> None:
    assert as_images(np.array([[[0.0, 1.0]]])).shape == (1, 1, 2, 1)


def test_what_scaling_rounds_is_in_the_range_too() -> None:
    beyond = np.array([[[-1e-9, np.nextafter(1, 2)]]])
    np.testing.assert_array_equal(as_images(beyond)[..., 0], beyond)
    # What is refused is shown with as many digits as it takes to see why.
    assert refused(np.array([[[0.0, 1 + 2e-6]]])).value == "values from 0 to 1.000002"


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "bool", "complex64"])
def test_other_number_types(dtype: str) -> None:
    assert dtype in str(refused(np.zeros((3, 4, 6, 1), dtype)).value)
    assert dtype in str(refused(torch.zeros(3, 4, 6, 1, dtype=getattr(torch, dtype))).value)


MASKED = np.ma.masked_array(np.zeros((1, 2, 2)), True)


@pytest.mark.parametrize("given", [None, [[[0.5]]], "images", 3, np.array(["a"]), np.zeros((1, 2, 2), ">f4"), MASKED])
def test_what_is_neither_array_nor_tensor_of_pixels(given: Any) -> None:
    assert refused(given).rule == "an array or tensor of uint8 or floats in [0, 1]"


@pytest.mark.parametrize("given", [torch.zeros(1, 2, 2, device="meta"), torch.zeros(1, 2, 2).to_sparse()])
def test_tensors_that_are_not_dense(given: torch.Tensor) -> None:
    assert refused(given).rule == "a dense tensor"
    with pytest.raises(OptionError) as error:
        as_mask(given, (2, 2))
    assert (error.value.field, error.value.rule) == ("observed", "a dense tensor")


SEEN = np.array([[1, 0, 1], [0, 1, 1]])


@pytest.mark.parametrize("kind", ["bool", "uint8", ">i4", "float32", "float16", ">f8"])
def test_masks_of_any_number_type(kind: str) -> None:
    for given in (SEEN.astype(kind), (255 * SEEN).astype(kind), SEEN.astype(kind)[::-1, ::-1][::-1, ::-1]):
        assert torch.equal(as_mask(given, (2, 3), 4), torch.tensor(SEEN == 1).expand(4, 2, 3))
    assert torch.equal(as_mask(SEEN.tolist(), (2, 3)), torch.tensor(SEEN == 1)[None])
    assert torch.equal(as_mask(torch.tensor(SEEN).bfloat16(), (2, 3))[0], torch.tensor(SEEN == 1))


NOT_TRUE = [np.where(SEEN, 1, np.nan), torch.tensor(SEEN) / 0, SEEN.astype(complex), SEEN.astype(object), "right", None]


@pytest.mark.parametrize("given", [*NOT_TRUE, torch.tensor(SEEN).to(torch.complex64)])
def test_what_says_of_no_pixel_whether_it_was_seen(given: Any) -> None:
    with pytest.raises(OptionError) as error:
        as_mask(given, (2, 3))
    assert (error.value.field, error.value.rule) == ("observed", "truth values or finite numbers")


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (3, 2), (5, 2, 3), (0, 2, 3), (4, 2, 3, 1)])
def test_masks_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError) as error:
        as_mask(np.ones(shape), (2, 3), 4)
    assert error.value.field == "observed"


def test_views_of_arrays_are_taken(tmp_path: Path) -> None:
    given = pixels(5, 4, 6, 1).numpy()
    for view in (given[::-1], given[:, ::-1], given[::2, 1:], np.asfortranarray(given), given.transpose(0, 2, 1, 3)):
        np.testing.assert_array_equal(as_images(view), view)
    # Memory that is not to be written to: torch warns of it, and nothing here writes to it.
    fixed = given.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(as_images(fixed), given)
    np.save(tmp_path / "images.npy", given)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_allclose(to_float(as_images(mapped), torch.float32) * 255, given, rtol=1e-6)


def test_a_tensor_that_requires_a_gradient_keeps_it() -> None:
    given = torch.zeros(3, 4, 6, 1, requires_grad=True)
    assert as_images(given).requires_grad
    assert as_images(given[..., 0]).requires_grad


def test_bytes_are_scaled_and_floats_are_not() -> None:
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8), torch.float64).tolist() == [0, 1]
    assert to_float(torch.tensor([0.0, 0.5]), torch.float32).tolist() == [0, 0.5]
    assert to_float(torch.tensor([0.0, 0.5], dtype=torch.float64), torch.float32).dtype is torch.float32


def test_images_are_not_written_to() -> None:
    floats = torch.tensor([0.25])
    assert to_float(floats, torch.float32).tolist() == [0.25]
    assert floats.tolist() == [0.25]
    given = pixels(7, 2, 2, 1)
    kept = given.clone()
    list(image_batches(given, 3, torch.float32, CPU))
    assert torch.equal(given, kept)


@pytest.mark.parametrize(("size", "sizes"), [(3, [3, 3, 1]), (7, [7]), (100, [7]), (1, [1] * 7)])
def test_batches_hold_every_image_once_in_order(size: int, sizes: list[int]) -> None:
    images = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1)
    batches = list(image_batches(images, size, torch.float64, CPU))
    assert [len(batch) for batch in batches] == sizes
    torch.testing.assert_close(torch.cat(batches) * 255, images.double())
    assert images.tolist() == [[[[number]]] for number in range(7)]
    assert list(image_batches(images[:0], size, torch.float64, CPU)) == []
