"""Kernels that make maps: images of a batch, pooled ones, scores without a step."""

import triton
import triton.language as tl

from dcgmm.model.fused.kernels.blocks import batch_of, contracted, floats, patches, places


@triton.jit
def contract_kernel(
    x,
    linear,
    precision,
    constant,
    scores,
    N,
    size,
    rows,
    columns,
    down,
    right,
    line,
    run,
    K,
    D,
    P,
    parts,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (R parts, blocks of KP components): constant_k + <linear_k, x> - <precision_k, x^2> / 2."""
    model, part = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts
    p, k = part * BP + tl.arange(0, BP), tl.program_id(1) * KP + tl.arange(0, KP)
    inside = p < P
    x += model * N * size
    place = places(tl.where(inside, p, 0), x, size, rows, columns, down, right, False)
    linear += model * K * D
    precision += model * K * D
    total = tl.zeros((BP, KP), tl.float32)
    for first in range(0, D, BD):
        d = first + tl.arange(0, BD)
        here = (k < K)[None, :] & (d < D)[:, None]
        at = k[None, :] * D + d[:, None]
        a, b = tl.load(linear + at, mask=here, other=0.0), tl.load(precision + at, mask=here, other=0.0)
        total += contracted(patches(x, place, inside, d, D, run, line), a, b, PRECISION)
    total += tl.load(constant + model * K + k, mask=k < K, other=0.0)[None, :]
    at = (model * P + p)[:, None] * K + k[None, :]
    tl.store(scores + at, total, mask=inside[:, None] & (k < K)[None, :])


@triton.jit
def gather_kernel(images, order, position, out, N, count, size, line, run, made, BLOCK: tl.constexpr):
    """Grid (R N blocks of an image): the maps of a batch, which are GATHERED, as floats; `made` values each."""
    blocks = tl.cdiv(made, BLOCK)
    row, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    images, order = batch_of(images, order, position, row // N, N, count, size, True)
    place = places(row % N, order, size, 1, 1, 0, 0, True)
    i = block * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(images + place + (i // run) * line + i % run, mask=i < made, other=0)
    tl.store(out + row * made + i, floats(value), mask=i < made)


@triton.jit
def pool_kernel(x, out, H, W, C, rows, columns, kh, kw, sh, sw, BLOCK: tl.constexpr):
    """Grid (M rows, blocks of a row): the largest value of each channel in each window; a partial window counts."""
    line = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < columns * C
    c, column = i % C, i // C
    top = (line % rows).to(tl.int32) * sh
    x += (line // rows * H + top) * W * C
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    for a in range(tl.minimum(kh, H - top)):
        for b in range(kw):
            z = column * sw + b
            value = tl.load(x + (a * W + z) * C + c, mask=inside & (z < W), other=float("-inf"))
            best = tl.maximum(best, value, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + line * columns * C + i, best, mask=inside)
