"""Gaussians with a low-rank part in their precision (factor analysers): scores, gradient and projection.

Pure functions. A component k has centroid mu_k, `precision_sqrt` d_k as in `gaussian`, and `factors` G_k, so that its
precision is P_k = diag(E_k) - G_k G_k^T with E_k = d_k^2. With the capacitance matrix M_k = I - G_k^T E_k^-1 G_k,
positive definite where P_k is, the determinant lemma gives det P_k = det E_k det M_k, and therefore

    log N_k(x) = sum_f log d_kf + 1/2 log det M_k + 1/2 |G_k^T (x - mu_k)|^2
                 - 1/2 sum_f E_kf (x_f - mu_kf)^2 - D/2 log(2 pi):

the score of the diagonal Gaussian, and a part that the factors add. Nothing is larger than P L K, or than the
parameters; no (D, D) matrix is ever formed.

Shapes: P points, K components, D features, L factors; `...` is the model's batch_shape. Inside, all factors are rows
(L, K, D), so that every sum runs over whole rows. Factors (K, D, L) may lie in memory as they like; laid out as these
rows, as `start_factors` gives them, they are not copied.

Source: Richardson & Weiss, "On GANs and GMMs" (2018); Gepperth, "Large-scale gradient-based training of mixtures of
factor analyzers" (2023).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgmm.model.gaussian import Gradient, natural_parameters, smoothed_winner
from dcgmm.model.native import factors as compiled

BLOCK = 2**24  # bytes of products of points, components and factors that are held at once
START = 0.5  # length of a factor at the start


class FactorParameters(NamedTuple):
    """What scores and gradient need of the factors; as `NaturalParameters`, computed once a step."""

    rows: Tensor  # (..., L, K, D), the columns of all G
    offset: Tensor  # (..., L, K), G^T mu
    log_det: Tensor  # (..., K), log det M; NaN where M is not positive definite
    inverse: Tensor  # (..., K, L, L), M^-1


def factor_parameters(
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
    factors: Tensor,  # (..., K, D, L)
) -> FactorParameters:
    """The maps z = G^T x - G^T mu, and determinant and inverse of the capacitance matrix."""
    rows = factors.movedim(-1, -3).contiguous()
    if rows.dim() == 3 and rows.numel() and compiled.takes(rows, loc, precision_sqrt):
        return FactorParameters(rows, *compiled.factor_parameters(loc, precision_sqrt, rows))
    offset = (rows * loc.unsqueeze(-3)).sum(-1)
    root = cholesky(capacitance(precision_sqrt, rows.movedim(-3, -1)))
    return FactorParameters(rows, offset, log_det(root), inverse(root))


def capacitance(
    precision_sqrt: Tensor,  # (..., D)
    factors: Tensor,  # (..., D, L)
) -> Tensor:  # (..., L, L)
    """M = I - G^T E^-1 G, with any leading shapes that go together; positive definite where the precision is."""
    standard = factors / precision_sqrt.unsqueeze(-1)
    return torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device) - standard.mT @ standard


def cholesky(matrix: Tensor) -> Tensor:  # (..., L, L) -> (..., L, L)
    """Lower Cholesky factor; NaN, not an error, where there is none: one of many models may diverge alone."""
    root, info = torch.linalg.cholesky_ex(matrix)
    return torch.where((info == 0)[..., None, None], root, torch.nan)


def log_det(root: Tensor) -> Tensor:  # (..., L, L) -> (...)
    """Log determinant of the matrix of which this is the Cholesky factor."""
    return 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def inverse(root: Tensor) -> Tensor:  # (..., L, L) -> (..., L, L)
    """Inverse of the matrix of which this is the Cholesky factor; by what a CUDA graph can hold."""
    identity = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    inverted = torch.linalg.solve_triangular(root, identity.expand_as(root), upper=False)
    product: Tensor = inverted.mT @ inverted
    return product


def block_size(numbers: int, dtype: torch.dtype) -> int:
    """How many points, of so many numbers each, are taken at once."""
    return max(1, BLOCK // (max(1, numbers) * dtype.itemsize))


def products(x: Tensor, parameters: FactorParameters) -> Iterator[Tensor]:  # (..., P, D) -> (..., p, L K)
    """G^T x for one block of p points after the other: nearly all the work of a score."""
    maps = parameters.rows.flatten(-3, -2).mT  # (..., D, L K)
    for block in x.split(block_size(parameters.offset.numel(), x.dtype), -2):
        yield block @ maps


def projections(x: Tensor, parameters: FactorParameters) -> Iterator[Tensor]:  # (..., P, D) -> (..., p, L, K)
    """z = G^T (x - mu) for one block of p points after the other."""
    offset = parameters.offset
    for block in products(x, parameters):
        yield block.unflatten(-1, offset.shape[-2:]).sub_(offset.unsqueeze(-3))


def add_factors(
    scores: Tensor,  # (..., P, K), of the diagonal Gaussians
    x: Tensor,  # (..., P, D)
    parameters: FactorParameters,
) -> Tensor:  # (..., P, K)
    """Scores with the part of the factors, 1/2 |z|^2 + 1/2 log det M; without factors the same tensor."""
    if not parameters.rows.numel():
        return scores
    if parameters.rows.dim() == 3 and scores.dim() == x.dim() == 2 and compiled.takes(*parameters, scores, x):
        made = products(x, parameters)
        return compiled.add_factors(scores, made, parameters.rows, parameters.offset, parameters.log_det)
    squares = torch.cat([z.square().sum(-2) for z in projections(x, parameters)], -2)
    return torch.add(scores, squares + parameters.log_det.unsqueeze(-2), alpha=0.5)


def factor_scores(
    x: Tensor,  # (..., P, D)
    log_weights: Tensor,  # (..., K)
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
    factors: Tensor,  # (..., K, D, L)
) -> Tensor:  # (..., P, K)
    """Joint log-density of each point with each component: log pi_k + log N_k (nats)."""
    linear, precision, constant = natural_parameters(log_weights, loc, precision_sqrt)
    scores = x @ linear.mT - 0.5 * ((x * x) @ precision.mT) + constant.unsqueeze(-2)
    return add_factors(scores, x, factor_parameters(loc, precision_sqrt, factors)) if factors.shape[-1] else scores


class Won(NamedTuple):
    """Scores, and for each point what the component that wins it says."""

    scores: Tensor  # (..., P, K)
    value: Tensor  # (..., P), max_k s_k
    winner: Tensor  # (..., P)
    projection: Tensor  # (..., P, L), its z = G^T (x - mu)


def winners(
    scores: Tensor,  # (..., P, K), of the diagonal Gaussians
    x: Tensor,  # (..., P, D)
    parameters: FactorParameters,
    kernel: Tensor | None = None,  # (..., S, S), of one side of the grid; None is the identity
    held: Tensor | None = None,  # (...), bool; None is for none
) -> Won:
    """As `add_factors`, with the winners and their z, which cost nothing while the z of all components are at hand.

    Factors are trained after the diagonal part has been annealed. Of models side by side some may still be annealing:
    their kernel is not the identity, and their factors are 0. Where a model is `held`, the winner is that of the
    diagonal part.
    """
    half_log_det = 0.5 * parameters.log_det.unsqueeze(-2)
    blocks, start = [], 0
    for z in projections(x, parameters):
        diagonal = scores.narrow(-2, start, z.shape[-3])
        part = torch.add(diagonal, z.square().sum(-2), alpha=0.5) + half_log_det
        judged = part if held is None else torch.where(held[..., None, None], diagonal, part)
        value, winner = smoothed_winner(judged, kernel)
        if held is not None:
            own_score = part.gather(-1, winner.unsqueeze(-1)).squeeze(-1)
            value = torch.where(held.unsqueeze(-1), own_score, value)
        blocks.append((part, value, winner, z.take_along_dim(winner[..., None, None], -1).squeeze(-1)))
        start += z.shape[-3]
    parts, values, indices, own = zip(*blocks, strict=True)
    return Won(torch.cat(parts, -2), torch.cat(values, -1), torch.cat(indices, -1), torch.cat(own, -2))


def cross_sums(
    x: Tensor,  # (..., P, D)
    won: Won,
) -> Tensor:  # (..., K, D, L)
    """Sums of x z^T over the points that each component wins.

    Each point counts with one component only, so that this costs P D L, not P D L K: bags of points weighted by z.
    """
    batch, (points, features) = x.shape[:-2], x.shape[-2:]
    components, factors = won.scores.shape[-1], won.projection.shape[-1]
    models = batch.numel()
    place = torch.arange(models, device=x.device).unsqueeze(-1) * components
    key = (won.winner.reshape(models, points) + place).flatten()
    ordered, order = key.sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(models * components, device=x.device))
    offsets = starts + models * points * torch.arange(factors, device=x.device).unsqueeze(-1)
    weights = won.projection.reshape(models * points, factors)[order].mT
    sums = F.embedding_bag(
        order.repeat(factors),
        x.reshape(models * points, features),
        offsets.flatten(),
        mode="sum",
        per_sample_weights=weights.flatten(),
    )
    return sums.view(factors, *batch, components, features).movedim(0, -1)


class FactorGradient(NamedTuple):
    """Gradient of the objective with respect to a GMM layer's free parameters, as `Gradient`, and its factors."""

    logits: Tensor  # (..., K)
    loc: Tensor  # (..., K, D)
    precision_sqrt: Tensor  # (..., K, D)
    factors: Tensor  # (..., K, D, L)
    share: Tensor  # (..., K), of the points that each component wins


def factor_gradient(
    diagonal: Gradient,  # of the diagonal Gaussians, for the same winners
    means: tuple[Tensor, Tensor, Tensor],  # (..., K), (..., K, D), (..., K, D): of 1, x and x^2 by winner
    cross: Tensor,  # (..., K, D, L), of x z^T by winner
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
    parameters: FactorParameters,
) -> FactorGradient:
    """Gradient of L = mean_n max_k s_k(x_n), for the winners k*_n.

    With c = x - mu, <.> the mean over all points of what a component wins (0 elsewhere), and n = <1> its share:

        dL/dmu = E <c> - G G^T <c>,        dL/dG = <c z^T> - n E^-1 G M^-1,        dL/dlogit = n - pi,
        dL/dE  = n/2 E^-1 + n/2 diag(E^-1 G M^-1 G^T E^-1) - 1/2 <c^2>,            dL/dd = 2 d dL/dE,

    and <c z^T> = <x z^T> - mu <z>^T with <z> = G^T <c>. The terms without G are the diagonal Gaussian's.
    """
    if not parameters.rows.numel():
        return FactorGradient(**diagonal._asdict(), factors=torch.zeros_like(cross))
    rows, share = parameters.rows, means[0]
    scaled = rows.transpose(-3, -2) / precision_sqrt.square().unsqueeze(-2)  # (..., K, L, D), G^T E^-1
    centred = torch.addcmul(means[1], loc, share.unsqueeze(-1), value=-1.0)  # <c>
    projected = (rows * centred.unsqueeze(-3)).sum(-1)  # (..., L, K), <z>
    inverted = parameters.inverse @ scaled  # (..., K, L, D), M^-1 G^T E^-1
    variance = (inverted * scaled).sum(-2)  # (..., K, D), what the factors add to that of the features
    moments = torch.addcmul(cross.mT, projected.mT.unsqueeze(-1), loc.unsqueeze(-2), value=-1.0)  # <z c^T>
    return FactorGradient(
        logits=diagonal.logits,
        loc=diagonal.loc - (rows * projected.unsqueeze(-1)).sum(-3),
        precision_sqrt=torch.addcmul(diagonal.precision_sqrt, share.unsqueeze(-1) * precision_sqrt, variance),
        factors=moments.addcmul_(share[..., None, None], inverted, value=-1.0).mT,
        share=diagonal.share,
    )


def pull_factors(
    weights: Tensor,  # (..., P, K)
    x: Tensor,  # (..., P, D)
    parameters: FactorParameters,
) -> Tensor:  # (..., P, D)
    """What the factors add to the gradient with respect to x of sum_k w_k s_k: sum_k w_k G_k z_k."""
    maps, size = parameters.rows.flatten(-3, -2), block_size(parameters.offset.numel(), x.dtype)
    pairs = zip(projections(x, parameters), weights.split(size, -2), strict=True)
    return torch.cat([(z * w.unsqueeze(-2)).flatten(-2) @ maps for z, w in pairs], -2)


def project(
    precision_sqrt: Tensor,  # (..., K, D), within its limits
    factors: Tensor,  # (..., K, D, L)
    floor: float,  # of the eigenvalues of M, in (0, 1)
) -> Tensor:  # (..., K, D, L)
    """Factors with which no eigenvalue w of M lies under the floor, rotated into M's basis V, the strongest first.

    G V has orthogonal columns of squared length 1 - w (in units of E); those above 1 - floor are shrunk to it. The
    rotation leaves G G^T, and so the Gaussian, as it is.
    """
    if not factors.shape[-1]:
        return factors
    # A model that has diverged keeps its NaN by `factors`, but does not end the others by an error.
    eigenvalues, basis = torch.linalg.eigh(capacitance(precision_sqrt, factors).nan_to_num(0.0, 0.0, 0.0))
    most = 1 - floor
    shrink = (most / (1 - eigenvalues).clamp(min=most)).sqrt()
    rotated: Tensor = (basis * shrink.unsqueeze(-2)).mT @ factors.mT
    return rotated.mT


def start_factors(
    components: int,
    features: int,
    factors: int,
    generator: torch.Generator,
    batch_shape: tuple[int, ...] = (),
) -> Tensor:  # (..., K, D, L) float32, on the CPU
    """Start values: random orthogonal columns of length 1/2, with which M = 1 - 1/4 / E where E is even.

    The generator lives on the CPU: one seed, one start. Rounded to float32, as all start values are.
    """
    shape = (*batch_shape, components, features, factors)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    columns, triangle = torch.linalg.qr(noise)
    # The decomposition leaves the signs of the columns open.
    signs = triangle.diagonal(dim1=-2, dim2=-1).sign()
    start: Tensor = (START * columns * signs.unsqueeze(-2)).float()
    return start.movedim(-1, -3).contiguous().movedim(-3, -1)
