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


class NaturalParameters(NamedTuple):
    """Coefficients of the scores in x and x^2: s_k(x) = constant_k + <linear_k, x> - <precision_k, x^2> / 2."""

    linear: Tensor  # (..., K, D), d^2 mu
    precision: Tensor  # (..., K, D), d^2
    constant: Tensor  # (..., K)


def natural_parameters(
    log_weights: Tensor,  # (..., K)
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
) -> NaturalParameters:
    """The joint log-densities with the square expanded, so that all the work is two linear maps."""
    precision = precision_sqrt.square()
    linear = precision * loc
    log_det = precision_sqrt.log().sum(-1)
    constant = log_weights + log_det - 0.5 * (linear * loc).sum(-1) - 0.5 * loc.shape[-1] * math.log(2 * math.pi)
    return NaturalParameters(linear, precision, constant)


class Gradient(NamedTuple):
    """Gradient of the objective with respect to a GMM layer's free parameters, and what limits a step."""

    logits: Tensor  # (..., K)
    loc: Tensor  # (..., K, D)
    precision_sqrt: Tensor  # (..., K, D)
    share: Tensor  # (..., K), S0: of the points that each component wins


def smoothed(
    rows: Tensor,  # (..., K, F)
    kernel: Tensor,  # (..., S, S), S = sqrt(K)
) -> Tensor:  # (..., K, F)
    """(g x g) times the rows, a Kronecker product, without forming it: g is applied along either side of the grid."""
    side, (components, features) = kernel.shape[-1], rows.shape[-2:]
    along = kernel @ rows.reshape(*rows.shape[:-2], side, side * features)
    grid = along.view(*rows.shape[:-2], side, side, features)
    return (kernel.unsqueeze(-3) @ grid).view(*rows.shape[:-2], components, features)


def smoothed_winner(
    scores: Tensor,  # (..., P, K)
    kernel: Tensor | None,  # (..., S, S), of G = g x g, rows sum to 1; None is the identity
) -> tuple[Tensor, Tensor]:  # (..., P), (..., P)
    """Value and index of max_k sum_j G_kj s_j for each point: the annealed max-component score."""
    if kernel is None:
        value, winner = scores.max(-1)
        return value, winner
    # Scores lie far from 0 and near each other: their differences are smoothed, lest rounding decides.
    shift = scores.amax(-1, keepdim=True)
    value, winner = smoothed((scores - shift).mT, kernel).max(-2)
    return value + shift.squeeze(-1), winner


def objective_gradient(
    means: tuple[Tensor, Tensor, Tensor],  # (..., K), (..., K, D), (..., K, D): of 1, x and x^2 by winner
    kernel: Tensor | None,  # (..., S, S), of G = g x g; None is the identity
    log_weights: Tensor,  # (..., K)
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
    precision: Tensor,  # (..., K, D), d^2
) -> Gradient:
    """Gradient of L = mean_n max_k sum_j G_kj s_j(x_n), for the winners k*_n.

        dL/dmu = d^2 (S1 - mu S0),   dL/dd = S0 / d - d (S2 - 2 mu S1 + mu^2 S0),   dL/dlogit = S0 - pi,

    where S0, S1, S2 are the means over n of w, w x, w x^2 with w_j = G_{k*_n j} (section 3.1). Points of one winner
    share their weights, so their sums are smoothed, not they: sum_n G_{k*_n j} x_n = sum_k G_kj sum_{n: k*_n = k} x_n.
    The last formula uses that the rows of G, and so the S0, sum to 1. `means` are sums over the points that a
    component wins, divided by the number of all points.
    """
    s0, s1, s2 = means
    if kernel is not None:
        spread = kernel.mT
        s0, s1, s2 = smoothed(s0.unsqueeze(-1), spread).squeeze(-1), smoothed(s1, spread), smoothed(s2, spread)
    weight = s0.unsqueeze(-1)
    centred = torch.addcmul(s1, loc, weight, value=-1.0)  # S1 - mu S0
    deviation = torch.addcmul(s2, loc, s1 + centred, value=-1.0)  # S2 - 2 mu S1 + mu^2 S0
    return Gradient(
        logits=s0 - log_weights.exp(),
        loc=precision * centred,
        precision_sqrt=torch.addcmul(weight / precision_sqrt, precision_sqrt, deviation, value=-1.0),
        share=s0,
    )
