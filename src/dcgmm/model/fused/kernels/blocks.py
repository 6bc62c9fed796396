"""Blocks of patches, of what they are multiplied with, and of the smoothing matrix."""

import triton
import triton.language as tl


@triton.jit
def batch_of(x, order, position, model, N, count, size, GATHERED: tl.constexpr):
    """Where the N maps of a model's batch begin, each `size` long, or the part of an order that says where each does.

    GATHERED: it is the `position`-th batch of an `order` of `count` entries.
    """
    if GATHERED:
        order += model * count + tl.load(position) * N
    else:
        x += model * N * size
    return x, order


@triton.jit
def places(p, order, size, rows, columns, down, right, GATHERED: tl.constexpr):
    """Where the patch of each point begins in a batch: its map is so many sizes behind the first."""
    number, q = (p // (rows * columns)).to(tl.int64), p % (rows * columns)
    if GATHERED:
        number = tl.load(order + number)
    return number * size + (q // columns) * down + (q % columns) * right


@triton.jit
def floats(value):
    """Values as they are computed with: bytes are scaled to [0, 1]."""
    if value.dtype == tl.uint8:
        value = value.to(tl.float32) * (1.0 / 255.0)
    return value


@triton.jit
def patches(x, place, inside, d, D, run, line):
    """Features d of the patches that begin at `place`, (BP, BD), 0 outside.

    The rows of a patch, `run` long, are contiguous, and a `line` apart.
    """
    offset = (d // run) * line + d % run
    return floats(tl.load(x + place[:, None] + offset[None, :], mask=inside[:, None] & (d < D)[None, :], other=0))


@triton.jit
def contracted(value, linear, precision, PRECISION: tl.constexpr):
    """<linear, x> - <precision, x^2> / 2 of a block of points, (BP, KP)."""
    product = tl.dot(value, linear, input_precision=PRECISION)
    return product - 0.5 * tl.dot(value * value, precision, input_precision=PRECISION)


@triton.jit
def smoothing(kernel, row, column, inside, SIDE: tl.constexpr):
    """Entries of G = g x g, of which `kernel` has g: component (a, a') has the weight g_ab g_a'b' for (b, b')."""
    outer = tl.load(kernel + (row // SIDE) * SIDE + column // SIDE, mask=inside, other=0.0)
    return outer * tl.load(kernel + (row % SIDE) * SIDE + column % SIDE, mask=inside, other=0.0)


@triton.jit
def weights(winner, inside, kernel, k, K, SIDE: tl.constexpr, SMOOTH: tl.constexpr):
    """What each point adds to the sums of each component, (BP, KP): the row of G of its winner, or it alone."""
    if SMOOTH:
        here = inside[:, None] & (k < K)[None, :]
        return smoothing(kernel, winner[:, None], k[None, :], here, SIDE)
    return tl.where((winner[:, None] == k[None, :]) & inside[:, None], 1.0, 0.0)
