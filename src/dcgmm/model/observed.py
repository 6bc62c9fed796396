"""Scores of images of which only a part was seen.

In the lowest GMM layer what was not seen drops out of each Gaussian exactly: with o_f in {0, 1},

    s_k = log pi_k + sum_f o_f [log d_kf - d_kf^2 (x_f - mu_kf)^2 / 2 - log(2 pi) / 2],

and in a factor-analysing layer by its marginal (`conditionals.marginal_scores`). Above begins an approximation: what a
layer passes on of a position counts in the next one with the share of the position's patch that was seen, as o_f in
[0, 1]; Pooling passes on mean shares. Of a patch that was not seen at all the mixture weights are left.

Shapes: as in `shapes`; o is a map of shares, 1 where all was seen.

Source: Ghahramani & Jordan, "Supervised learning from incomplete data via an EM approach" (1994), for a mixture.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgmm.images import Images, as_images, as_mask, as_tensor
from dcgmm.model.conditionals import marginal_scores
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.folding import Folding
from dcgmm.model.gaussian import natural_parameters
from dcgmm.model.gmm import GMM
from dcgmm.model.layers import Layer
from dcgmm.model.patches import Patches
from dcgmm.model.pooling import Pooling
from dcgmm.model.scored import Scored
from dcgmm.model.shapes import Shape

HALF = 0.5  # share from which on a factor-analysing layer above the first counts a position as seen


def seen_part(
    images: Images, observed: Images, shape: Shape
) -> tuple[Tensor, Tensor]:  # (N, H, W, C), (N, H, W, C) bool
    """Images with 0 for what was not seen of them, which may be anything, NaN too, and what was seen.

    Args:
        images: (N, H, W, C) or (N, H, W), as `as_images` takes them.
        observed: (N, H, W) or (H, W), truth values: which pixels were seen, in all their channels.
        shape: height, width and channels that they must have.

    Raises:
        InputError: the images or the mask have another shape, or the seen part holds values that are no pixels'.
    """
    given = as_tensor(images, shape)
    height, width, channels = shape
    seen = as_mask(observed, (height, width), len(given)).unsqueeze(-1).expand(-1, -1, -1, channels)
    whole = torch.where(seen.to(given.device), given, torch.zeros((), dtype=given.dtype, device=given.device))
    return as_images(whole, shape), seen


def score_shares(
    layers: Mapping[str, Layer],
    x: Tensor,  # (N, H, W, C), 0 where nothing was seen
    shares: Tensor,  # (N, H, W, C)
) -> dict[str, Scored]:
    """Scores of every GMM layer among some, from below, by the layer's name."""
    scored: dict[str, Scored] = {}
    below: Folding | None = None  # the Folding layer directly under the next one
    for name, layer in layers.items():
        if isinstance(layer, GMM):
            seen = shares if below is None else below(shares)  # (N, H', W', D)
            patches = layer.patches(x if below is None else below.patches(x))
            scored[name] = _scored(layer, patches, seen, not scored)
            x, below = scored[name].responsibilities, None
            shares = seen.mean(-1, keepdim=True).expand(*seen.shape[:-1], layer.components)
            continue
        if below is not None:
            x, shares, below = below(x), below(shares), None
        if isinstance(layer, Folding):
            below = layer
        else:
            x, shares = layer(x), _mean_shares(layer, shares)
    return scored


def _scored(gmm: GMM, patches: Patches, seen: Tensor, first: bool) -> Scored:
    weights, values, log_weights = patches.points(seen), patches.values, gmm.log_weights
    if isinstance(gmm, FactorGMM) and gmm.has_factors:
        given = (gmm.loc, gmm.precision_sqrt, gmm.factors)
        scores = marginal_scores(values, weights >= (1 if first else HALF), log_weights, *given)
    else:
        precision = gmm.precision_sqrt.square()
        constant = gmm.precision_sqrt.log() - 0.5 * precision * gmm.loc.square() - 0.5 * math.log(2 * math.pi)
        weighted = weights * values
        scores = weighted @ (precision * gmm.loc).mT - 0.5 * (weighted * values) @ precision.mT + weights @ constant.mT
        scores = scores + log_weights.unsqueeze(-2)
    return Scored(
        patches,
        log_weights,
        natural_parameters(log_weights, gmm.loc, gmm.precision_sqrt),
        patches.on_map(scores),
        seen,
    )


def _mean_shares(pooling: Pooling, shares: Tensor) -> Tensor:  # (N, H, W, C) -> (N, H', W', C)
    window = pooling.window
    height, width = pooling.output_shape[:2]
    pooled = F.avg_pool2d(shares.movedim(-1, 1), window.kernel, window.stride, ceil_mode=True, count_include_pad=False)
    return pooled[:, :, :height, :width].movedim(1, -1)
