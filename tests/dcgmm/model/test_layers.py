"""Folding and Pooling against explicit loops, and the laws between their two directions."""

import itertools

import pytest
import torch

from dcgmm.errors import InputError, OptionError
from dcgmm.model import Folding, Pooling, Shape
from dcgmm.model.patches import fold_sum, unfold
from tests.refusals import refused

# input (H, W, C), kernel, stride: non-square, unequal strides, uncovered rims, C > 1, a window as large as its input
WINDOWS = [
    ((5, 7, 1), (2, 3), (1, 2)),
    ((6, 4, 3), (3, 2), (3, 2)),
    ((7, 7, 2), (3, 3), (3, 2)),
    ((4, 5, 2), (4, 5), (1, 1)),
    ((4, 5, 2), (1, 1), (1, 1)),
    ((3, 8, 1), (1, 4), (2, 3)),
]
IDS = [f"{shape}-{kernel}-{stride}" for shape, kernel, stride in WINDOWS]
laws = pytest.mark.parametrize(("shape", "kernel", "stride"), WINDOWS, ids=IDS)
Triple = tuple[int, int, int]
Pair = tuple[int, int]


def images(shape: Triple, samples: int = 2) -> torch.Tensor:
    return torch.randn(samples, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@laws
def test_folding_up_is_a_loop_over_windows(shape: Triple, kernel: Pair, stride: Pair) -> None:
    x, folding = images(shape), Folding(Shape(*shape), kernel, stride)
    up = folding(x)
    rows, columns = 1 + (shape[0] - kernel[0]) // stride[0], 1 + (shape[1] - kernel[1]) // stride[1]
    assert tuple(up.shape) == (2, *folding.output_shape) == (2, rows, columns, kernel[0] * kernel[1] * shape[2])
    for i, j in itertools.product(range(rows), range(columns)):
        top, left = i * stride[0], j * stride[1]
        patch = x[:, top : top + kernel[0], left : left + kernel[1]]
        assert torch.equal(up[:, i, j], patch.reshape(2, -1))  # (row, column, channel), channel fastest


@laws
def test_fold_sum_is_the_adjoint(shape: Triple, kernel: Pair, stride: Pair) -> None:
    folding = Folding(Shape(*shape), kernel, stride)
    x = images(shape)
    patches = torch.randn(2, *folding.output_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left = (unfold(x, folding.window) * patches).sum()
    right = (x * fold_sum(patches, folding.window, folding.input_shape)).sum()
    torch.testing.assert_close(left, right)


@laws
def test_folding_down_averages_and_leaves_uncovered_pixels_at_zero(shape: Triple, kernel: Pair, stride: Pair) -> None:
    folding = Folding(Shape(*shape), kernel, stride)
    x = images(shape)
    cover = torch.zeros(shape[:2])
    for i, j in itertools.product(range(folding.output_shape.height), range(folding.output_shape.width)):
        cover[i * stride[0] : i * stride[0] + kernel[0], j * stride[1] : j * stride[1] + kernel[1]] += 1
    expected = torch.where(cover[..., None] > 0, x, 0.0)
    torch.testing.assert_close(folding.downward(folding(x)), expected)
    # Patches that disagree are averaged.
    patches = torch.zeros(1, *folding.output_shape, dtype=torch.float64)
    patches[:, 0, 0] = 1
    down = folding.downward(patches)
    inside = down[0, : kernel[0], : kernel[1], 0]
    torch.testing.assert_close(inside, (1 / cover[: kernel[0], : kernel[1]]).double())


@laws
def test_pooling_both_ways(shape: Triple, kernel: Pair, stride: Pair) -> None:
    pooling = Pooling(Shape(*shape), kernel, stride)
    x = images(shape)
    up = pooling(x)
    rows, columns = pooling.output_shape.height, pooling.output_shape.width
    # Every window that starts inside counts, up to the one that reaches the end.
    for size, count, k, s in ((shape[0], rows, kernel[0], stride[0]), (shape[1], columns, kernel[1], stride[1])):
        starts = [start for start in range(0, size, s) if start == 0 or start - s + k < size]
        assert count == len(starts)
    for i, j in itertools.product(range(rows), range(columns)):
        top, left = i * stride[0], j * stride[1]
        window = x[:, top : top + kernel[0], left : left + kernel[1]]
        assert torch.equal(up[:, i, j], window.amax((1, 2)))
    down = pooling.downward(up)
    assert down.shape == x.shape
    for row, column in itertools.product(range(shape[0]), range(shape[1])):
        source = up[:, min(row // stride[0], rows - 1), min(column // stride[1], columns - 1)]
        assert torch.equal(down[:, row, column], source)


def test_pooling_stride_defaults_to_the_kernel_and_partial_windows_count() -> None:
    pooling = Pooling(Shape(13, 5, 2), (2, 2))
    assert pooling.output_shape == (7, 3, 2)
    x = images((13, 5, 2))
    assert torch.equal(pooling(x)[:, 6, 2], x[:, 12, 4])


def test_layers_take_leading_dimensions() -> None:
    x = torch.randn(3, 2, 5, 7, 2, generator=torch.Generator().manual_seed(0))
    shape = Shape(5, 7, 2)
    for layer in (Folding(shape, (2, 3), (1, 2)), Pooling(shape, (2, 3))):
        up = layer(x)
        torch.testing.assert_close(up[1], layer(x[1]))
        torch.testing.assert_close(layer.downward(up)[1], layer.downward(up[1]))


@pytest.mark.parametrize("layer", [Folding, Pooling])
@pytest.mark.parametrize(
    ("kernel", "stride", "kind", "named"),
    [
        ((6, 1), (1, 1), InputError, ["5x7"]),
        ((1, 8), (1, 1), InputError, ["5x7"]),
        ((0, 1), (1, 1), OptionError, ["kernel", "two", "[0, 1]"]),
        ((2,), (1, 1), OptionError, ["kernel", "two", "[2]"]),
        ((2, 2), (1, -1), OptionError, ["stride", "two", "[1, -1]"]),
    ],
)
def test_impossible_windows(
    layer: type[Folding] | type[Pooling],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    kind: type[InputError],
    named: list[str],
) -> None:
    with refused(*named, kind=kind):
        layer(Shape(5, 7, 1), kernel, stride)
