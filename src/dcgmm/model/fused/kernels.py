"""Triton kernels of a GMM layer's passes, float32.

Each adds in one order: no atomics, so that a step repeats itself bit for bit. Sums over points are made a block of
points (a part) at a time, and the parts are added in their order.

Shapes: R models, the last axis of every grid; N samples, H W C of a map; P = N H' W' points; D = kh kw C features of a
patch; K components on a SIDE x SIDE grid, padded to KP, a power of two; BP points and BD features at a time.
"""

import triton
import triton.language as tl

HALF_LOG_2PI = tl.constexpr(0.9189385332046727)


@triton.jit
def _places(p, model, N, H, W, C, rows, columns, sh, sw):
    """Where the patch of each point begins."""
    q = p % (rows * columns)
    sample = (model * N + p // (rows * columns)).to(tl.int64)
    return ((sample * H + (q // columns) * sh) * W + (q % columns) * sw) * C


@triton.jit
def _patches(x, place, inside, d, D, run, line):
    """Features d of the patches that begin at `place`, (BP, BD), 0 outside.

    The rows of a patch, `run` long, are contiguous, and a `line` apart.
    """
    offset = (d // run) * line + d % run
    return tl.load(x + place[:, None] + offset[None, :], mask=inside[:, None] & (d < D)[None, :], other=0.0)


@triton.jit
def _contracted(value, linear, precision, PRECISION: tl.constexpr):
    """<linear, x> - <precision, x^2> / 2 of a block of points, (BP, KP)."""
    product = tl.dot(value, linear, input_precision=PRECISION)
    return product - 0.5 * tl.dot(value * value, precision, input_precision=PRECISION)


@triton.jit
def _smoothing(kernel, row, column, inside, SIDE: tl.constexpr):
    """Entries of G = g x g, of which `kernel` has g: component (a, a') has the weight g_ab g_a'b' for (b, b')."""
    outer = tl.load(kernel + (row // SIDE) * SIDE + column // SIDE, mask=inside, other=0.0)
    return outer * tl.load(kernel + (row % SIDE) * SIDE + column % SIDE, mask=inside, other=0.0)


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
    place = _places(tl.where(inside, p, 0), model, N, H, W, C, rows, columns, sh, sw)
    total = tl.zeros((BP, KP), tl.float32)
    for first in range(0, D, BD):
        d = first + tl.arange(0, BD)
        here = (k < K)[None, :] & (d < D)[:, None]
        at = (model * K + k[None, :]) * D + d[:, None]
        a, b = tl.load(linear + at, mask=here, other=0.0), tl.load(precision + at, mask=here, other=0.0)
        total += _contracted(_patches(x, place, inside, d, D, run, W * C), a, b, PRECISION)
    total += tl.load(constant + model * K + k, mask=k < K, other=0.0)[None, :]
    at = (model.to(tl.int64) * P + p)[:, None] * K + k[None, :]
    tl.store(scores + at, total, mask=inside[:, None] & (k < K)[None, :])


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
        total += _contracted(_patches(x, place, inside, d, last, run, line), linear, precision, PRECISION)
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
        spread = _smoothing(kernel, k[None, :], j[:, None], known[None, :] & (j < K)[:, None], SIDE)
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
    place = _places(tl.where(inside, p, 0), model, N, H, W, C, rows, columns, sh, sw)
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
            patch = tl.trans(_patches(x, place, inside, d, D, run, W * C))
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


@triton.jit
def sums_kernel(
    x,
    winners,
    sums,
    N,
    H,
    W,
    C,
    rows,
    columns,
    sh,
    sw,
    run,
    D,
    P,
    stretch,
    BP: tl.constexpr,
    KP: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (blocks of D, pieces of P, R): sums of x and x^2 by winner over a stretch of points, as one-hot products."""
    block, piece, model = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    pieces = tl.num_programs(1)
    d, k = block * BD + tl.arange(0, BD), tl.arange(0, KP)
    first, second = tl.zeros((BD, KP), tl.float32), tl.zeros((BD, KP), tl.float32)
    last = tl.minimum((piece + 1) * stretch, P)
    for begin in range(piece * stretch, last, BP):
        p = begin + tl.arange(0, BP)
        inside = p < last
        place = _places(tl.where(inside, p, 0), model, N, H, W, C, rows, columns, sh, sw)
        winner = tl.load(winners + model * P + p, mask=inside, other=-1)
        one_hot = tl.where(winner[:, None] == k[None, :], 1.0, 0.0)
        patch = tl.trans(_patches(x, place, inside, d, D, run, W * C))
        first += tl.dot(patch, one_hot, input_precision=PRECISION)
        second += tl.dot(patch * patch, one_hot, input_precision=PRECISION)
    at = ((model * D + d[:, None]) * 2 * pieces + piece) * KP + k[None, :]
    known = (d < D)[:, None] & (k >= 0)[None, :]
    tl.store(sums + at, first, mask=known)
    tl.store(sums + at + pieces * KP, second, mask=known)


@triton.jit
def _added(start, count, k, KP: tl.constexpr, STEP: tl.constexpr):
    """Sum of `count` rows of KP, STEP of them at a time."""
    total = tl.zeros((STEP, KP), tl.float32)
    for begin in range(0, count, STEP):
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
):
    """Grid (D, 1, R), a feature each: sums of all parts, smoothed, the gradient, a step along it, and the projection.

    The program of feature 0 takes the logits' step as well, and tells the objective. `dcgmm.model.gaussian` says in
    tensors what is done here.
    """
    d, model = tl.program_id(0), tl.program_id(2)
    k, j = tl.arange(0, KP), tl.arange(0, KP)
    known = k < K
    s0 = _added(counts + model * parts * KP, parts, k, KP, STEP) / P
    own = sums + (model * D + d) * 2 * pieces * KP
    s1 = _added(own, pieces, k, KP, STEP) / P
    s2 = _added(own + pieces * KP, pieces, k, KP, STEP) / P
    if SMOOTH:
        both = known[:, None] & (j < K)[None, :]
        spread = _smoothing(kernel + model * SIDE * SIDE, j[None, :], k[:, None], both, SIDE)
        s0, s1 = tl.sum(spread * s0[None, :], 1), tl.sum(spread * s1[None, :], 1)
        s2 = tl.sum(spread * s2[None, :], 1)
    at = (model * K + k) * D + d
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
        tl.store(objective + model, tl.sum(value, 0) / P)


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
