"""A step's last kernels: sums by winner, and the step along the gradient that they give."""

import triton
import triton.language as tl

from dcgmm.model.fused.kernels.blocks import batch_of, patches, places, smoothing


@triton.jit
def sums_kernel(
    x,
    order,
    position,
    winners,
    sums,
    N,
    count,
    size,
    rows,
    columns,
    down,
    right,
    line,
    run,
    D,
    P,
    stretch,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    GATHERED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (R blocks of D, pieces of P): sums of x and x^2 by winner over a stretch of points, as one-hot products."""
    blocks = tl.cdiv(D, BD)
    model, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    piece, pieces = tl.program_id(1), tl.num_programs(1)
    x, order = batch_of(x, order, position, model, N, count, size, GATHERED)
    d, k = block * BD + tl.arange(0, BD), tl.arange(0, KP)
    first, second = tl.zeros((BD, KP), tl.float32), tl.zeros((BD, KP), tl.float32)
    last = tl.minimum((piece + 1) * stretch, P)
    for begin in range(piece * stretch, last, BP):
        p = begin + tl.arange(0, BP)
        inside = p < last
        place = places(tl.where(inside, p, 0), order, size, rows, columns, down, right, GATHERED)
        winner = tl.load(winners + model * P + p, mask=inside, other=-1)
        one_hot = tl.where(winner[:, None] == k[None, :], 1.0, 0.0)
        patch = tl.trans(patches(x, place, inside, d, D, run, line))
        first += tl.dot(patch, one_hot, input_precision=PRECISION)
        second += tl.dot(patch * patch, one_hot, input_precision=PRECISION)
    sums += model * D * 2 * pieces * KP
    at = (d[:, None] * 2 * pieces + piece) * KP + k[None, :]
    known = (d < D)[:, None] & (k >= 0)[None, :]
    tl.store(sums + at, first, mask=known)
    tl.store(sums + at + pieces * KP, second, mask=known)


@triton.jit
def _added(start, count, k, KP: tl.constexpr, STEP: tl.constexpr):
    """Sum of `count` rows of KP, STEP of them at a time."""
    total = tl.zeros((STEP, KP), tl.float32)
    for begin in tl.range(0, count, STEP, loop_unroll_factor=4):  # so many are on their way at a time
        row = begin + tl.arange(0, STEP)
        at = start + row[:, None] * KP + k[None, :]
        total += tl.load(at, mask=(row < count)[:, None] & (k >= 0)[None, :], other=0.0)
    return tl.sum(total, 0)


@triton.jit
def update_kernel(
    logits,
    loc,
    root,
    kernel,
    rate_logits,
    rate_loc,
    rate_root,
    values,
    counts,
    sums,
    objective,
    total,
    position,
    K,
    D,
    P,
    parts,
    pieces,
    least,
    most,
    KP: tl.constexpr,
    SIDE: tl.constexpr,
    SMOOTH: tl.constexpr,
    STEP: tl.constexpr,
    ADDS: tl.constexpr,
    MOVES: tl.constexpr,
):
    """Grid (R D), a feature each: sums of all parts, smoothed, the gradient, a step along it, and the projection.

    The program of feature 0 takes the logits' step as well, and tells the objective, which it ADDS to a total; the
    first of all MOVES the position on: by now the batch has been read.
    `dcgmm.model.gaussian` says in tensors what is done here.
    """
    model, d = (tl.program_id(0) // D).to(tl.int64), tl.program_id(0) % D
    k, j = tl.arange(0, KP), tl.arange(0, KP)
    known = k < K
    s0 = _added(counts + model * parts * KP, parts, k, KP, STEP) / P
    own = sums + (model * D + d) * 2 * pieces * KP
    s1 = _added(own, pieces, k, KP, STEP) / P
    s2 = _added(own + pieces * KP, pieces, k, KP, STEP) / P
    if SMOOTH:
        both = known[:, None] & (j < K)[None, :]
        spread = smoothing(kernel + model * SIDE * SIDE, j[None, :], k[:, None], both, SIDE)
        s0, s1 = tl.sum(spread * s0[None, :], 1), tl.sum(spread * s1[None, :], 1)
        s2 = tl.sum(spread * s2[None, :], 1)
    loc += model * K * D
    root += model * K * D
    at = k * D + d
    mu = tl.load(loc + at, mask=known, other=0.0)
    r = tl.load(root + at, mask=known, other=1.0)
    precision = r * r
    centred = s1 - mu * s0
    deviation = s2 - mu * (s1 + centred)
    # A centroid goes at most to the mean of what it won.
    farthest = tl.where(s0 > 0, 1.0 / tl.where(s0 > 0, precision * s0, 1.0), float("inf"))
    tl.store(loc + at, mu + tl.minimum(farthest, tl.load(rate_loc + model)) * (precision * centred), mask=known)
    stepped = r + tl.load(rate_root + model) * (s0 / r - r * deviation)
    # Compared so, a NaN stays one.
    stepped = tl.where(stepped < least, least, tl.where(stepped > most, most, stepped))
    tl.store(root + at, stepped, mask=known)
    if d == 0:
        weight = tl.load(logits + model * K + k, mask=known, other=float("-inf"))
        share = tl.exp(weight - tl.max(weight, 0))
        share = share / tl.sum(share, 0)
        tl.store(logits + model * K + k, weight + tl.load(rate_logits + model) * (s0 - share), mask=known)
        value = tl.zeros((STEP,), tl.float32)
        for begin in range(0, parts, STEP):
            row = begin + tl.arange(0, STEP)
            value += tl.load(values + model * parts + row, mask=row < parts, other=0.0)
        mean = tl.sum(value, 0) / P
        tl.store(objective + model, mean)
        if ADDS:
            tl.store(total + model, tl.load(total + model) + mean)
        if MOVES:
            tl.store(position, tl.load(position) + 1, mask=model == 0)
