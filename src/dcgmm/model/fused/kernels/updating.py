"""A step's last kernels: weighted sums, and the step along the gradient that they give."""

import triton
import triton.language as tl

from dcgmm.model.fused.kernels.blocks import batch_of, patches, places, weights


@triton.jit
def sums_kernel(
    x,
    order,
    position,
    kernel,
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
    K,
    D,
    P,
    stretch,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    SIDE: tl.constexpr,
    SMOOTH: tl.constexpr,
    GATHERED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (R blocks of D, pieces of P): sums of x and x^2 over a stretch of points, weighted by their winners."""
    blocks = tl.cdiv(D, BD)
    model, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    piece, pieces = tl.program_id(1), tl.num_programs(1)
    x, order = batch_of(x, order, position, model, N, count, size, GATHERED)
    d, k = block * BD + tl.arange(0, BD), tl.arange(0, KP)
    kernel += model * SIDE * SIDE
    first, second = tl.zeros((BD, KP), tl.float32), tl.zeros((BD, KP), tl.float32)
    last = tl.minimum((piece + 1) * stretch, P)
    for begin in range(piece * stretch, last, BP):
        p = begin + tl.arange(0, BP)
        inside = p < last
        place = places(tl.where(inside, p, 0), order, size, rows, columns, down, right, GATHERED)
        winner = tl.load(winners + model * P + p, mask=inside, other=0)
        weight = weights(winner, inside, kernel, k, K, SIDE, SMOOTH)
        patch = tl.trans(patches(x, place, inside, d, D, run, line))
        first += tl.dot(patch, weight, input_precision=PRECISION)
        second += tl.dot(patch * patch, weight, input_precision=PRECISION)
    sums += model * D * 2 * pieces * KP
    at = (d[:, None] * 2 * pieces + piece) * KP + k[None, :]
    known = (d < D)[:, None] & (k >= 0)[None, :]
    tl.store(sums + at, first, mask=known)
    tl.store(sums + at + pieces * KP, second, mask=known)


@triton.jit
def _added(start, pieces, k, ROWS: tl.constexpr, KP: tl.constexpr, BD: tl.constexpr):
    """Sums (BD, KP) over the pieces that begin at `start`, (BD,), KP values each, ROWS of them at a time."""
    total = tl.zeros((BD, ROWS, KP), tl.float32)
    for begin in tl.range(0, pieces, ROWS, loop_unroll_factor=2):  # so many are on their way at a time
        row = begin + tl.arange(0, ROWS)
        at = start[:, None, None] + row[None, :, None] * KP + k[None, None, :]
        here = (row < pieces)[None, :, None] & (k >= 0)[None, None, :]
        total += tl.load(at, mask=here, other=0.0)
    return tl.sum(total, 1)


@triton.jit
def update_kernel(
    logits,
    loc,
    root,
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
    BD: tl.constexpr,
    ROWS: tl.constexpr,
    ADDS: tl.constexpr,
    MOVES: tl.constexpr,
):
    """Grid (R blocks of D): sums of all parts, the gradient, a step along it, and the projection.

    The program of a model's first features takes the logits' step as well, and tells the objective, which it ADDS to a
    total; the first of all MOVES the position on: by now the batch has been read.
    `dcgmm.model.gaussian` says in tensors what is done here.
    """
    blocks = tl.cdiv(D, BD)
    model, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    d, k = block * BD + tl.arange(0, BD), tl.arange(0, KP)
    here = (d < D)[:, None] & (k < K)[None, :]
    own = sums + model * D * 2 * pieces * KP + tl.where(d < D, d, 0) * 2 * pieces * KP
    s0 = tl.sum(_added(counts + model * parts * KP + tl.arange(0, 1), parts, k, ROWS, KP, 1), 0) / P
    s1 = _added(own, pieces, k, ROWS, KP, BD) / P
    s2 = _added(own + pieces * KP, pieces, k, ROWS, KP, BD) / P
    at = model * K * D + k[None, :] * D + d[:, None]
    mu = tl.load(loc + at, mask=here, other=0.0)
    r = tl.load(root + at, mask=here, other=1.0)
    precision = r * r
    weight = s0[None, :]
    centred = s1 - mu * weight
    deviation = s2 - mu * (s1 + centred)
    # A centroid goes at most to the mean of what it won.
    farthest = tl.where(weight > 0, 1.0 / tl.where(weight > 0, precision * weight, 1.0), float("inf"))
    tl.store(loc + at, mu + tl.minimum(farthest, tl.load(rate_loc + model)) * (precision * centred), mask=here)
    stepped = r + tl.load(rate_root + model) * (weight / r - r * deviation)
    # Compared so, a NaN stays one.
    stepped = tl.where(stepped < least, least, tl.where(stepped > most, most, stepped))
    tl.store(root + at, stepped, mask=here)
    if block == 0:
        logit = tl.load(logits + model * K + k, mask=k < K, other=float("-inf"))
        share = tl.exp(logit - tl.max(logit, 0))
        share = share / tl.sum(share, 0)
        tl.store(logits + model * K + k, logit + tl.load(rate_logits + model) * (s0 - share), mask=k < K)
        value = tl.zeros((KP,), tl.float32)
        for begin in range(0, parts, KP):
            value += tl.load(values + model * parts + begin + k, mask=begin + k < parts, other=0.0)
        mean = tl.sum(value, 0) / P
        tl.store(objective + model, mean)
        if ADDS:
            tl.store(total + model, tl.load(total + model) + mean)
        if MOVES:
            tl.store(position, tl.load(position) + 1, mask=model == 0)
