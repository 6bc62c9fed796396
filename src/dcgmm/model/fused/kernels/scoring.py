"""A step's first kernels: scores of all points, their winners and responsibilities."""

import triton
import triton.language as tl

from dcgmm.model.fused.kernels.blocks import contracted, patches, places, smoothing

HALF_LOG_2PI = tl.constexpr(0.9189385332046727)


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
        here = (k < K)[None, :] & (d < last)[:, None]
        at = k[None, :] * D + d[:, None]
        mu = tl.load(loc + at, mask=here, other=0.0)
        precision_sqrt = tl.load(root + at, mask=here, other=1.0)
        precision = tl.where(here, precision_sqrt * precision_sqrt, 0.0)
        linear = precision * mu
        constant += tl.sum(tl.log(precision_sqrt) - 0.5 * linear * mu, 0)
        total += contracted(patches(x, place, inside, d, last, run, line), linear, precision, PRECISION)
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
    return value, winner


@triton.jit
def _noted(value, winner, inside, k, part, parts, values, counts, KP: tl.constexpr):
    """Which point belongs to which component, (BP, KP); the part's sums of values and of points are stored."""
    one_hot = tl.where((winner[:, None] == k[None, :]) & inside[:, None], 1.0, 0.0)
    tl.store(values + part, tl.sum(tl.where(inside, value, 0.0), 0))
    tl.store(counts + part * KP + k, tl.sum(one_hot, 0))
    return one_hot


@triton.jit
def scores_kernel(
    x,
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
    parts,
    split,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    SIDE: tl.constexpr,
    SMOOTH: tl.constexpr,
    PASSES: tl.constexpr,
    SUMS: tl.constexpr,
    WHOLE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (parts, splits of D, R): scores of points, and what follows from them.

    WHOLE: all features are in one split, and the part is finished here; with SUMS (D <= BD) its sums of x and x^2 by
    winner are made here, too. Else what the split's features add goes to `partial`, (R, splits, P, KP).
    """
    part, which, model = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    p, k = part * BP + tl.arange(0, BP), tl.arange(0, KP)
    inside = p < P
    place = places(tl.where(inside, p, 0), model, N, H, W, C, rows, columns, sh, sw)
    first = which * split
    last = tl.minimum(first + split, D)
    own = model * K * D
    scores = _partial_scores(
        x, place, inside, loc + own, root + own, k, K, D, run, W * C, first, last, BP, KP, BD, PRECISION
    )
    if WHOLE:
        value, winner = _finished(
            scores,
            p,
            inside,
            logits + model * K,
            kernel + model * SIDE * SIDE,
            posterior + model.to(tl.int64) * P * K,
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
        one_hot = _noted(value, winner, inside, k, model * parts + part, parts, values, counts, KP)
        if SUMS:
            d = tl.arange(0, BD)
            patch = tl.trans(patches(x, place, inside, d, D, run, W * C))
            at = ((model * D + d[:, None]) * 2 * parts + part) * KP + k[None, :]
            known = (d < D)[:, None] & (k >= 0)[None, :]
            tl.store(sums + at, tl.dot(patch, one_hot, input_precision=PRECISION), mask=known)
            at += parts * KP
            tl.store(sums + at, tl.dot(patch * patch, one_hot, input_precision=PRECISION), mask=known)
        else:
            tl.store(winners + model * P + p, winner, mask=inside)
    else:
        at = (model * tl.num_programs(1) + which) * P
        tl.store(partial + (at + p[:, None]) * KP + k[None, :], scores, mask=inside[:, None] & (k >= 0)[None, :])


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
    """Grid (parts, 1, R): the splits are added in their order, and the part is finished."""
    part, model = tl.program_id(0), tl.program_id(2)
    p, k = part * BP + tl.arange(0, BP), tl.arange(0, KP)
    inside = p < P
    scores = tl.zeros((BP, KP), tl.float32)
    for which in range(splits):
        at = ((model * splits + which) * P + p[:, None]) * KP + k[None, :]
        scores += tl.load(partial + at, mask=inside[:, None] & (k >= 0)[None, :], other=0.0)
    value, winner = _finished(
        scores,
        p,
        inside,
        logits + model * K,
        kernel + model * SIDE * SIDE,
        posterior + model.to(tl.int64) * P * K,
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
    _noted(value, winner, inside, k, model * parts + part, parts, values, counts, KP)
    tl.store(winners + model * P + p, winner, mask=inside)
