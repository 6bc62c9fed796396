"""A step's first kernels: scores of all points, their winners and responsibilities."""

import triton
import triton.language as tl

from dcgmm.model.fused.kernels.blocks import batch_of, contracted, patches, places, smoothing, weights

HALF_LOG_2PI = tl.constexpr(0.9189385332046727)


@triton.jit
def _added(patch, loc, root, k, d, K, D, last, PRECISION: tl.constexpr):
    """What features d, up to the last, add to the scores (BP, KP), and to their constants (KP,)."""
    here = (k < K)[None, :] & (d < last)[:, None]
    at = k[None, :] * D + d[:, None]
    mu = tl.load(loc + at, mask=here, other=0.0)
    precision_sqrt = tl.load(root + at, mask=here, other=1.0)
    precision = tl.where(here, precision_sqrt * precision_sqrt, 0.0)
    linear = precision * mu
    return contracted(patch, linear, precision, PRECISION), tl.sum(tl.log(precision_sqrt) - 0.5 * linear * mu, 0)


@triton.jit
def _partial_scores(
    x,
    place,
    inside,
    loc,
    root,
    k,
    K,
    D,
    run,
    line,
    first,
    last,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Scores (BP, KP) without log pi and -D/2 log 2 pi: what the features first to last add to them."""
    total = tl.zeros((BP, KP), tl.float32)
    constant = tl.zeros((KP,), tl.float32)
    for begin in range(first, last, BD):
        d = begin + tl.arange(0, BD)
        scores, more = _added(patches(x, place, inside, d, last, run, line), loc, root, k, d, K, D, last, PRECISION)
        total += scores
        constant += more
    return total + constant[None, :]


@triton.jit
def _finished(
    scores,
    p,
    inside,
    logits,
    kernel,
    posterior,
    k,
    K,
    D,
    BP: tl.constexpr,
    KP: tl.constexpr,
    SIDE: tl.constexpr,
    SMOOTH: tl.constexpr,
    PASSES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Value and winner of each point, (BP,) each, from what all features add to the scores; responsibilities are
    stored where the layer PASSES them on."""
    known = k < K
    weight = tl.load(logits + k, mask=known, other=float("-inf"))
    top = tl.max(weight, 0)
    log_weight = weight - top - tl.log(tl.sum(tl.exp(weight - top), 0))
    scores += tl.where(known, log_weight - D * HALF_LOG_2PI, 0.0)[None, :]
    shown = tl.where(known[None, :], scores, float("-inf"))
    shift = tl.max(shown, 1)
    if PASSES:
        share = tl.exp(shown - shift[:, None])
        share = share / tl.sum(share, 1)[:, None]
        at = p.to(tl.int64)[:, None] * K + k[None, :]
        tl.store(posterior + at, share, mask=inside[:, None] & known[None, :])
    if SMOOTH:
        # Scores lie far from 0 and near each other: their differences are smoothed, lest rounding decides.
        j = tl.arange(0, KP)
        spread = smoothing(kernel, k[None, :], j[:, None], known[None, :] & (j < K)[:, None], SIDE)
        near = tl.where(known[None, :], scores - shift[:, None], 0.0)
        shown = tl.where(known[None, :], tl.dot(near, spread, input_precision=PRECISION), float("-inf"))
        value, winner = tl.max(shown, 1, return_indices=True)
        value += shift
    else:
        value, winner = tl.max(shown, 1, return_indices=True)
    return value, tl.minimum(winner, K - 1)  # of NaN it may be any


@triton.jit
def scores_kernel(
    x,
    order,
    position,
    logits,
    loc,
    root,
    kernel,
    posterior,
    winners,
    values,
    counts,
    sums,
    partial,
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
    parts,
    turns,
    split,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    SIDE: tl.constexpr,
    SMOOTH: tl.constexpr,
    PASSES: tl.constexpr,
    SUMS: tl.constexpr,
    WHOLE: tl.constexpr,
    GATHERED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (R parts, splits of D): scores of points, and what follows from them. A part is some `turns` of BP points.

    WHOLE: all features are in one split, and the part is finished here; with SUMS (D <= BD) its weighted sums of x and
    x^2 are made here, too. Else what the split's features add goes to `partial`, (R, splits, P, KP).
    """
    model, part = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts
    which, k, d = tl.program_id(1), tl.arange(0, KP), tl.arange(0, BD)
    x, order = batch_of(x, order, position, model, N, count, size, GATHERED)
    begin = which * split
    end = tl.minimum(begin + split, D)
    loc += model * K * D
    root += model * K * D
    total, number = 0.0, tl.zeros((KP,), tl.float32)
    first, second = tl.zeros((BD, KP), tl.float32), tl.zeros((BD, KP), tl.float32)
    for turn in tl.range(0, turns, disable_licm=True, num_stages=1):  # what does not change would fill registers
        p = (part * turns + turn) * BP + tl.arange(0, BP)
        inside = p < P
        place = places(tl.where(inside, p, 0), order, size, rows, columns, down, right, GATHERED)
        if SUMS:
            patch = patches(x, place, inside, d, D, run, line)
            scores, constant = _added(patch, loc, root, k, d, K, D, D, PRECISION)
            scores += constant[None, :]
        else:
            scores = _partial_scores(x, place, inside, loc, root, k, K, D, run, line, begin, end, BP, KP, BD, PRECISION)
        if WHOLE:
            value, winner = _finished(
                scores,
                p,
                inside,
                logits + model * K,
                kernel + model * SIDE * SIDE,
                posterior + model * P * K,
                k,
                K,
                D,
                BP,
                KP,
                SIDE,
                SMOOTH,
                PASSES,
                PRECISION,
            )
            weight = weights(winner, inside, kernel + model * SIDE * SIDE, k, K, SIDE, SMOOTH)
            total += tl.sum(tl.where(inside, value, 0.0), 0)
            number += tl.sum(weight, 0)
            if SUMS:
                patch = tl.trans(patch)
                first += tl.dot(patch, weight, input_precision=PRECISION)
                second += tl.dot(patch * patch, weight, input_precision=PRECISION)
            else:
                tl.store(winners + model * P + p, winner, mask=inside)
        else:
            at = ((model * tl.num_programs(1) + which) * P + p[:, None]) * KP + k[None, :]
            tl.store(partial + at, scores, mask=inside[:, None] & (k >= 0)[None, :])
    if WHOLE:
        tl.store(values + model * parts + part, total)
        tl.store(counts + (model * parts + part) * KP + k, number)
    if SUMS:
        sums += model * D * 2 * parts * KP
        at = (d[:, None] * 2 * parts + part) * KP + k[None, :]
        known = (d < D)[:, None] & (k >= 0)[None, :]
        tl.store(sums + at, first, mask=known)
        tl.store(sums + at + parts * KP, second, mask=known)


@triton.jit
def finish_kernel(
    partial,
    logits,
    kernel,
    posterior,
    winners,
    values,
    counts,
    K,
    D,
    P,
    parts,
    splits,
    BP: tl.constexpr,
    KP: tl.constexpr,
    SIDE: tl.constexpr,
    SMOOTH: tl.constexpr,
    PASSES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (R parts), of one turn each: the splits are added in their order, and the part is finished."""
    model, part = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts
    p, k = part * BP + tl.arange(0, BP), tl.arange(0, KP)
    inside = p < P
    scores = tl.zeros((BP, KP), tl.float32)
    for which in tl.range(0, splits, loop_unroll_factor=4):  # so many are on their way at a time
        at = ((model * splits + which) * P + p[:, None]) * KP + k[None, :]
        scores += tl.load(partial + at, mask=inside[:, None] & (k >= 0)[None, :], other=0.0)
    value, winner = _finished(
        scores,
        p,
        inside,
        logits + model * K,
        kernel + model * SIDE * SIDE,
        posterior + model * P * K,
        k,
        K,
        D,
        BP,
        KP,
        SIDE,
        SMOOTH,
        PASSES,
        PRECISION,
    )
    tl.store(values + model * parts + part, tl.sum(tl.where(inside, value, 0.0), 0))
    weight = weights(winner, inside, kernel + model * SIDE * SIDE, k, K, SIDE, SMOOTH)
    tl.store(counts + (model * parts + part) * KP + k, tl.sum(weight, 0))
    tl.store(winners + model * P + p, winner, mask=inside)
