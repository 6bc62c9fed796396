"""Kernels that make maps: images of a batch, pooled ones, scores without a step."""

import triton
import triton.language as tl

from dcgmm.model.fused.kernels.blocks import contracted, patches, places


@triton.jit
def contract_kernel(
    x,
    linear,
    precision,
    constant,
    scores,
    N,
    H,
    W,
    C,
    rows,
    columns,
    sh,
    sw,
    run,
    K,
    D,
    P,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (parts, blocks of KP components, R): constant_k + <linear_k, x> - <precision_k, x^2> / 2."""
    model = tl.program_id(2)
    p, k = tl.program_id(0) * BP + tl.arange(0, BP), tl.program_id(1) * KP + tl.arange(0, KP)
    inside = p < P
    place = places(tl.where(inside, p, 0), model, N, H, W, C, rows, columns, sh, sw)
    total = tl.zeros((BP, KP), tl.float32)
    for first in range(0, D, BD):
        d = first + tl.arange(0, BD)
        here = (k < K)[None, :] & (d < D)[:, None]
        at = (model * K + k[None, :]) * D + d[:, None]
        a, b = tl.load(linear + at, mask=here, other=0.0), tl.load(precision + at, mask=here, other=0.0)
        total += contracted(patches(x, place, inside, d, D, run, W * C), a, b, PRECISION)
    total += tl.load(constant + model * K + k, mask=k < K, other=0.0)[None, :]
    at = (model.to(tl.int64) * P + p)[:, None] * K + k[None, :]
    tl.store(scores + at, total, mask=inside[:, None] & (k < K)[None, :])


@triton.jit
def gather_kernel(images, order, position, out, count, size, BYTES: tl.constexpr, BLOCK: tl.constexpr):
    """Grid (blocks of an image, samples of a batch, R): the images of a batch as floats.

    Args:
        images: (M, size), bytes or floats.
        order: (R, at least (position + 1) * B), of whole epochs or of a batch.
        position: of the batch in the order.
        out: (R, B, size).
        count: length of an order.
        size: values of an image.
    """
    sample, model = tl.program_id(1), tl.program_id(2)
    batch = tl.num_programs(1)
    row = tl.load(order + model * count + tl.load(position) * batch + sample)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(images + row.to(tl.int64) * size + i, mask=i < size, other=0)
    if BYTES:
        value = value.to(tl.float32) * (1.0 / 255.0)
    tl.store(out + (model * batch + sample).to(tl.int64) * size + i, value, mask=i < size)


@triton.jit
def pool_kernel(x, out, H, W, C, rows, columns, kh, kw, sh, sw, size, BLOCK: tl.constexpr):
    """Grid (blocks,): the largest value of each channel in each window of (M, H, W, C); a partial window counts."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    c, q = i % C, i // C
    column, row, m = q % columns, q // columns % rows, q // columns // rows
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    for a in range(kh):
        for b in range(kw):
            y, z = row * sh + a, column * sw + b
            here = inside & (y < H) & (z < W)
            value = tl.load(x + ((m * H + y) * W + z) * C + c, mask=here, other=float("-inf"))
            best = tl.maximum(best, value, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + i, best, mask=inside)
