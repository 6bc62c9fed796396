"""Gaussians with factors, drawn from, and seen in part: draws, marginals and conditionals, all exact.

Pure functions, in the terms of `factors`: precision diag(E) - G G^T with E = d^2, capacitance M = I - G^T E^-1 G. Let
o be the observed features and m the missing ones, S = G_m^T E_m^-1 G_m and z = G_o^T (x_o - mu_o). Both the marginal
and the conditional have the same form again:

    marginal of x_o:        E_o, factors G_o (I - S)^-1/2, centroid mu_o, and det M_o = det M / det(I - S),
    x_m where x_o is known: E_m, factors G_m, M = I - S,   centroid mu_m + E_m^-1 G_m (I - S)^-1 z.

`observed` is bool, and may differ from point to point. What x is where it is not observed makes no difference; it may
be NaN. But for `draw` and `marginal_scores`, parameters and masks are aligned: leading shapes go together by
broadcasting, as in conditional_mean(x, observed, loc[k], precision_sqrt[k], factors[k]) with each point's component
k (P,), or marginal_factors(precision_sqrt, factors, observed[:, None]) for Q masks and K components.

Shapes: P points, K components, D features, L factors; `...` leading shapes.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgmm.model.factors import block_size, capacitance, cholesky, log_det
from dcgmm.model.gaussian import natural_parameters


def covariance(
    precision_sqrt: Tensor,  # (..., D)
    factors: Tensor,  # (..., D, L)
) -> Tensor:  # (..., D, D)
    """E^-1 + E^-1 G M^-1 G^T E^-1, the inverse of the precision."""
    variance = precision_sqrt.square().reciprocal()
    scaled = factors * variance.unsqueeze(-1)
    solved = torch.cholesky_solve(scaled.mT, cholesky(capacitance(precision_sqrt, factors)))
    return variance.diag_embed() + scaled @ solved


def loadings(
    precision_sqrt: Tensor,  # (..., D)
    factors: Tensor,  # (..., D, L)
) -> Tensor:  # (..., D, L)
    """E^-1 G M^-1/2: what a standard deviation of each factor adds to a draw. Their products are its covariance."""
    root = _inverse_root(capacitance(precision_sqrt, factors))
    return factors / precision_sqrt.square().unsqueeze(-1) @ root


def draw(
    loc: Tensor,  # (K, D)
    precision_sqrt: Tensor,  # (K, D)
    factors: Tensor,  # (K, D, L)
    components: Tensor,  # (N, ...), long
    noise_pixel: Tensor,  # (N, ..., D), standard normal
    noise_factor: Tensor,  # (N, ..., L), standard normal
    pixel_scale: float = 1.0,
    factor_scale: float = 1.0,
) -> Tensor:  # (N, ..., D)
    """A draw mu + pixel_scale d^-1 e1 + factor_scale E^-1 G M^-1/2 e2 from the Gaussian of each component given."""
    drawn = torch.addcdiv(loc[components], noise_pixel, precision_sqrt[components], value=pixel_scale)
    count = factors.shape[-1]
    if not count:
        return drawn
    rows_of_all = loadings(precision_sqrt, factors).mT.flatten(0, 1)  # (K L, D)
    # Each draw is a weighted bag of its component's L loadings: no copy of them for each draw.
    rows = components.reshape(-1, 1) * count + torch.arange(count, device=components.device)
    weights = factor_scale * noise_factor.reshape(-1, count)
    added: Tensor = F.embedding_bag(rows, rows_of_all, mode="sum", per_sample_weights=weights)
    return drawn + added.view_as(drawn)


def marginal_factors(
    precision_sqrt: Tensor,  # (..., D)
    factors: Tensor,  # (..., D, L)
    observed: Tensor,  # (..., D), bool
) -> Tensor:  # (..., D, L)
    """Factors G_o (I - S)^-1/2 of the marginal of the observed features; 0 at the missing ones."""
    seen = observed.unsqueeze(-1)
    root = _inverse_root(capacitance(precision_sqrt, factors.masked_fill(seen, 0.0)))
    return factors.masked_fill(~seen, 0.0) @ root


def conditional_mean(
    x: Tensor,  # (..., D)
    observed: Tensor,  # (..., D), bool
    loc: Tensor,  # (..., D)
    precision_sqrt: Tensor,  # (..., D)
    factors: Tensor,  # (..., D, L)
) -> Tensor:  # (..., D)
    """Mean of the missing features where the observed ones are known; the observed ones as they are."""
    return torch.where(observed, x, _conditional_loc(x, observed, loc, precision_sqrt, factors))


def conditional_draw(
    x: Tensor,  # (..., D)
    observed: Tensor,  # (..., D), bool
    loc: Tensor,  # (..., D)
    precision_sqrt: Tensor,  # (..., D)
    factors: Tensor,  # (..., D, L)
    noise_pixel: Tensor,  # (..., D), standard normal
    noise_factor: Tensor,  # (..., L), standard normal
    pixel_scale: float = 1.0,
    factor_scale: float = 1.0,
) -> Tensor:  # (..., D)
    """A draw of the missing features where the observed ones are known, as `draw`; the observed ones as they are."""
    hidden = factors.masked_fill(observed.unsqueeze(-1), 0.0)
    mean = _conditional_loc(x, observed, loc, precision_sqrt, factors)
    spread = (loadings(precision_sqrt, hidden) @ noise_factor.unsqueeze(-1)).squeeze(-1)
    drawn = mean + pixel_scale * noise_pixel / precision_sqrt + factor_scale * spread
    return torch.where(observed, x, drawn)


def marginal_scores(
    x: Tensor,  # (..., P, D)
    observed: Tensor,  # (..., P, D), bool, or (..., 1, D): one mask for all points
    log_weights: Tensor,  # (..., K)
    loc: Tensor,  # (..., K, D)
    precision_sqrt: Tensor,  # (..., K, D)
    factors: Tensor,  # (..., K, D, L)
) -> Tensor:  # (..., P, K)
    """Joint log-density of what is observed of each point with each component: log pi_k + log N_k(x_o) (nats).

    All of it is linear in o, o x and o x^2, but for the (L, L) system of each point and component:

        log N_k(x_o) = sum_o [log d - E (x - mu)^2 / 2 - log(2 pi) / 2]
                       + 1/2 z^T (I - S)^-1 z + 1/2 log det M - 1/2 log det(I - S).
    """
    x = x.masked_fill(~observed, 0.0)
    seen = observed.to(x.dtype)
    linear, precision, _ = natural_parameters(log_weights, loc, precision_sqrt)
    constant = precision_sqrt.log() - 0.5 * linear * loc - 0.5 * math.log(2 * math.pi)  # (..., K, D)
    scores = x @ linear.mT - 0.5 * (x * x) @ precision.mT + seen @ constant.mT + log_weights.unsqueeze(-2)
    if not factors.shape[-1]:
        return scores
    parts = torch.cat(list(_factor_parts(x, seen, loc, precision_sqrt, factors)), -2)
    return scores + 0.5 * (parts + log_det(cholesky(capacitance(precision_sqrt, factors))).unsqueeze(-2))


def _factor_parts(x: Tensor, seen: Tensor, loc: Tensor, precision_sqrt: Tensor, factors: Tensor) -> Iterator[Tensor]:
    """z^T (I - S)^-1 z - log det(I - S) for one block of points (..., p, K) after the other."""
    components, _, count = factors.shape[-3:]
    maps = factors.mT  # (..., K, L, D)
    moved = (maps * loc.unsqueeze(-2)).flatten(-3, -2)  # (..., K L, D)
    size = block_size(factors.shape[:-2].numel() * count * count, x.dtype)
    masks = seen.split(size, -2) if seen.shape[-2] == x.shape[-2] else [seen] * -(-x.shape[-2] // size)
    for block, mask in zip(x.split(size, -2), masks, strict=True):
        z = (block @ maps.flatten(-3, -2).mT - mask @ moved.mT).unflatten(-1, (components, count, 1))
        # Many points have one mask, as pixels of a margin or of positions: their systems are formed once.
        kinds, kind = mask.unique(dim=0, return_inverse=True) if mask.dim() == 2 else (mask, None)
        root = cholesky(_hidden_capacitance(1 - kinds, precision_sqrt, factors))
        hidden = log_det(root)
        if kind is not None:
            root, hidden = root.index_select(-4, kind), hidden.index_select(-2, kind)
        white = torch.linalg.solve_triangular(root, z, upper=False)
        yield white.squeeze(-1).square().sum(-1) - hidden


def _hidden_capacitance(
    missing: Tensor,  # (..., P, D), 1 or 0
    precision_sqrt: Tensor,  # (..., K, D)
    factors: Tensor,  # (..., K, D, L)
) -> Tensor:  # (..., P, K, L, L)
    """I - S for each mask and component: of few masks one by one, of more as a linear map, for some features a time."""
    count = factors.shape[-1]
    if missing.dim() == 2 and len(missing) <= count:  # the map is L times as large as the factors
        return torch.stack([capacitance(precision_sqrt, factors * each.unsqueeze(-1)) for each in missing], -4)
    standard = factors / precision_sqrt.unsqueeze(-1)
    step = block_size(standard.shape[:-2].numel() * count * count, factors.dtype)
    total: Tensor | float = 0.0
    for part, mask in zip(standard.split(step, -2), missing.split(step, -1), strict=True):
        squares = part.unsqueeze(-1) * part.unsqueeze(-2)  # (..., K, d, L, L)
        total = total + torch.einsum("...pd,...kdlm->...pklm", mask, squares)
    return torch.eye(count, dtype=factors.dtype, device=factors.device) - total


def _conditional_loc(x: Tensor, observed: Tensor, loc: Tensor, precision_sqrt: Tensor, factors: Tensor) -> Tensor:
    """Centroid of the conditional at the missing features."""
    hidden = factors.masked_fill(observed.unsqueeze(-1), 0.0)
    deviation = (x - loc).masked_fill(~observed, 0.0)
    z = factors.mT @ deviation.unsqueeze(-1)  # (..., L, 1)
    solved = torch.cholesky_solve(z, cholesky(capacitance(precision_sqrt, hidden)))
    return loc + (hidden @ solved).squeeze(-1) / precision_sqrt.square()


def _inverse_root(matrix: Tensor) -> Tensor:  # (..., L, L) -> (..., L, L)
    """Symmetric inverse square root of a positive definite matrix."""
    eigenvalues, basis = torch.linalg.eigh(matrix)
    root: Tensor = (basis * eigenvalues.rsqrt().unsqueeze(-2)) @ basis.mT
    return root
