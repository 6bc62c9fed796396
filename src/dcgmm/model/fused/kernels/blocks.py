"""Blocks of patches, of what they are multiplied with, and of the smoothing matrix."""

import triton
import triton.language as tl


@triton.jit
def places(p, model, N, H, W, C, rows, columns, sh, sw):
    """Where the patch of each point begins."""
    q = p % (rows * columns)
    sample = (model * N + p // (rows * columns)).to(tl.int64)
    return ((sample * H + (q // columns) * sh) * W + (q % columns) * sw) * C


@triton.jit
def patches(x, place, inside, d, D, run, line):
    """Features d of the patches that begin at `place`, (BP, BD), 0 outside.

    The rows of a patch, `run` long, are contiguous, and a `line` apart.
    """
    offset = (d // run) * line + d % run
    return tl.load(x + place[:, None] + offset[None, :], mask=inside[:, None] & (d < D)[None, :], other=0.0)


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
