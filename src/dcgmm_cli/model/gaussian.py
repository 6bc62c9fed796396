"""Diagonal Gaussians in the parametrisation of the model, and the closed-form gradient of its objective.

Pure functions. A component k has centroid `loc` mu_k and `precision_sqrt` d_k = 1 / std, so that

    s_k(x) = log pi_k + log N(x; mu_k, diag(d_k^-2))
           = log pi_k + sum_f [log d_kf - d_kf^2 (x_f - mu_kf)^2 / 2] - D/2 log(2 pi).

Shapes: P points (sample and position in one), K components, D features; `...` is the model's batch_shape.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


def component_scores(
    x: Tensor,  # (..., P, D)
    squares: Tensor,  # (..., P, D), x^2: taken once, for the scores and for the sums of the gradient
    log_weights: Tensor,  # (..., K)
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
) -> Tensor:  # (..., P, K)
    """Joint log-density s_k(x) of each point with each component (nats).

    The square is expanded, so that all the work is two matrix products: x with d^2 mu, and x^2 with -d^2 / 2.
    """
    precision = precision_sqrt.square()
    linear = precision * loc
    constant = (
        log_weights
        + precision_sqrt.log().sum(-1)
        - 0.5 * (linear * loc).sum(-1)
        - 0.5 * loc.shape[-1] * math.log(2 * math.pi)
    )
    if loc.dim() == 2:
        return torch.addmm(constant, x, linear.mT).addmm(squares, precision.mT, alpha=-0.5)
    x, squares = x.expand(len(loc), -1, -1), squares.expand(len(loc), -1, -1)
    return torch.baddbmm(constant.unsqueeze(-2), x, linear.mT).baddbmm(squares, precision.mT, alpha=-0.5)


class Sums(NamedTuple):
    """What the gradient needs of a batch: sum_n w_nk, sum_n w_nk x_n and sum_n w_nk x_n^2."""

    weight: Tensor  # (..., K)
    first: Tensor  # (..., K, D)
    second: Tensor  # (..., K, D)


class Gradient(NamedTuple):
    """Gradient of the objective with respect to a GMM layer's free parameters."""

    logits: Tensor  # (..., K)
    loc: Tensor  # (..., K, D)
    precision_sqrt: Tensor  # (..., K, D)


def smoothed_winner(
    scores: Tensor,  # (..., P, K)
    kernel: Tensor | None,  # (..., K, K), rows sum to 1; None is the identity
) -> tuple[Tensor, Tensor]:  # (..., P), (..., P)
    """Value and index of max_k sum_j G_kj s_j for each point: the annealed max-component score."""
    smoothed = scores if kernel is None else scores @ kernel.mT
    value, winner = smoothed.max(-1)
    return value, winner


def winner_sums(
    x: Tensor,  # (..., P, D)
    squares: Tensor,  # (..., P, D), x^2
    winner: Tensor,  # (..., P), the component that each point belongs to
    kernel: Tensor | None,  # (..., K, K)
    components: int,
) -> Sums:
    """Mean over the P points of (w, w x, w x^2) with w_j = G_{k* j} (section 3.1).

    Points of one winner share their weights, so x is summed per winner first (hard assignment, cheap) and the
    K sums are smoothed afterwards: sum_n G_{k*_n j} x_n = sum_k G_kj sum_{n: k*_n = k} x_n.
    """
    # On CUDA index_add adds in no fixed order, and on a CPU it is slow where rows are short.
    by_product = x.is_cuda or x.shape[-1] < 16
    count, first, second = (_sum_by_product if by_product else _sum_by_index)(x, squares, winner, components)
    scale = 1.0 / winner.shape[-1]
    if kernel is None:
        return Sums(count * scale, first * scale, second * scale)
    spread = kernel.mT * scale
    return Sums((spread @ count.unsqueeze(-1)).squeeze(-1), spread @ first, spread @ second)


def _sum_by_index(x: Tensor, squares: Tensor, winner: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, features = winner.shape[:-1], x.shape[-1]
    replicas = batch.numel()
    if replicas > 1:
        winner = winner + torch.arange(replicas).mul_(components).unsqueeze(-1)
        x, squares = x.expand(*batch, -1, -1), squares.expand(*batch, -1, -1)
    index = winner.reshape(-1)

    def total(rows: Tensor) -> Tensor:
        zero = x.new_zeros(replicas * components, *rows.shape[1:])
        return zero.index_add_(0, index, rows).view(*batch, components, *rows.shape[1:])

    count = total(x.new_ones(len(index)))
    return count, total(x.reshape(-1, features)), total(squares.reshape(-1, features))


def _sum_by_product(x: Tensor, squares: Tensor, winner: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    one_hot = x.new_zeros(*winner.shape, components).scatter_(-1, winner.unsqueeze(-1), 1.0)
    return one_hot.sum(-2), one_hot.mT @ x, one_hot.mT @ squares


def objective_gradient(
    sums: Sums,
    log_weights: Tensor,  # (..., K)
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
) -> Gradient:
    """Gradient of L = mean_n max_k sum_j G_kj s_j(x_n), for the winners that `sums` was taken with.

        dL/dmu = d^2 (S1 - mu S0),   dL/dd = S0 / d - d (S2 - 2 mu S1 + mu^2 S0),   dL/dlogit = S0 - pi,

    where S0, S1, S2 are the sums of w, w x, w x^2. The last one uses that the rows of G, and so the S0, sum to 1.
    """
    weight = sums.weight.unsqueeze(-1)
    centred = torch.addcmul(sums.first, loc, weight, value=-1.0)  # S1 - mu S0
    spread = sums.second - loc * (sums.first + centred)  # S2 - 2 mu S1 + mu^2 S0
    return Gradient(
        logits=sums.weight - log_weights.exp(),
        loc=precision_sqrt.square() * centred,
        precision_sqrt=weight / precision_sqrt - precision_sqrt * spread,
    )
