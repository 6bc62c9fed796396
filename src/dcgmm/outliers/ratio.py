"""How much better the top layer explains which lower component lies where than overall frequencies do.

Shapes: N images, H W positions of the top layer, P cells of its window, K its components, J those of the layer under;
`...` is (H, W) where each position of the top layer has parameters of its own, else ().
"""

import torch
from torch import Tensor

from dcgmm.model.gmm import GMM
from dcgmm.model.patches import Patches

# The share of its overall frequency that a lower component has where no training image of the top component had it.
SMOOTHING = 0.01


def arrangement(top: GMM, lower: int) -> tuple[Tensor, Tensor]:  # (..., P, K, J), (..., J)
    """Which components of the layer under it the top layer expects where.

    Args:
        top: the top layer, which sees responsibilities of the layer under it (maybe pooled) in P cells of a window.
        lower: J.

    Returns:
        theta_pkj, for each top component the frequency of component j in cell p: its centroid, normalised over j, and
        with the share SMOOTHING of b_j; and b_j, the mean of theta over top components (by weight) and cells.
    """
    expected = normalised(top.loc.unflatten(-1, (-1, lower)).transpose(-3, -2))
    weights = top.log_weights.exp()[..., None, :, None]
    overall = (expected.mT @ weights).squeeze(-1).mean(-2).clamp(min=torch.finfo(expected.dtype).eps)
    return (1 - SMOOTHING) * expected + SMOOTHING * overall[..., None, None, :], overall


def log_ratio(top: GMM, lower: int, patches: Patches, shares: Tensor | None = None) -> Tensor:  # (N, H, W)
    """Log-likelihood ratio of what the top layer sees at each of its positions (nats):

        log sum_k pi_k prod_p [ sum_j theta_pkj N_j(x_p) / sum_j b_j N_j(x_p) ]
            = log sum_k pi_k prod_p sum_j r_pj theta_pkj / b_j,

    with theta and b of `arrangement`, N_j the lower layer's Gaussians and r_p its responsibilities in cell p under the
    weights b. The layer's own responsibilities stand in for them, normalised again where pooling took their largest.

    Args:
        top, lower: as in `arrangement`.
        patches: what the top layer sees, as its parameters are applied to it.
        shares: (N, H, W, P J), share of each cell that was seen; its factor is taken to that power, an approximation
            between 0, not seen, and 1. None: all was seen.
    """
    expected, overall = arrangement(top, lower)
    seen = patches.values.unflatten(-1, (-1, lower)).transpose(-3, -2)  # (..., P, points, J)
    cells = normalised(seen) / overall[..., None, None, :]
    likelihood = (cells @ expected.mT).clamp(min=torch.finfo(seen.dtype).tiny)  # (..., P, points, K)
    log_likelihood = likelihood.log()
    if shares is not None:  # one share a cell
        log_likelihood *= patches.points(shares).unflatten(-1, (-1, lower)).transpose(-3, -2)[..., :1]
    ratios = (log_likelihood.sum(-3) + top.log_weights.unsqueeze(-2)).logsumexp(-1, keepdim=True)
    return patches.on_map(ratios).squeeze(-1)


def normalised(frequencies: Tensor) -> Tensor:  # (..., J) -> (..., J)
    """Frequencies that sum to 1, without negative ones."""
    positive = frequencies.clamp(min=0)
    return positive / positive.sum(-1, keepdim=True).clamp(min=torch.finfo(positive.dtype).tiny)
