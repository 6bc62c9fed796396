"""Densities of the pixels: which models are one, in nats and bits per dimension.

A log-likelihood is a density in the space that its GMM layer sees. Only some models are densities of the image:

- one GMM layer over the whole image, p(x) = sum_k pi_k N_k(x), or over windows that tile it,
  p(x) = prod_p sum_k pi_k N_k(x_p), the windows being independent;
- two GMM layers over such windows, where the upper one sees them all,
  p(x) = sum_k pi_k prod_p sum_j theta_kpj N_j(x_p), with theta_kp the frequencies of the lower components in window p
  that the upper component k expects (its centroid, normalised: `outliers.ratio.arrangement`).

Shapes: N images, P windows of D = H W C / P features, J components of the lower layer, K of the upper one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.images import Images, as_images, image_batches
from dcgmm.model.folding import Folding
from dcgmm.model.gmm import GMM
from dcgmm.model.layers import Layer
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.ratio import arrangement

LEVELS = 255  # steps between black and white: a pixel's level stands for a cell of this width around it


@dataclass(frozen=True)
class Density:
    """Log-density of images.

    Attributes:
        nats: (N,) float64, of pixel values in [0, 1].
        bits_per_dimension: (N,) float64, of byte values.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("1L"))
        >>> found = dcgmm.density(model, dcgmm.datasets.load("mnist_sample", limit=5).test.images)
        >>> found.nats.shape, found.bits_per_dimension.dtype
        (torch.Size([5]), torch.float64)
    """

    nats: Tensor
    bits_per_dimension: Tensor


def why_no_density(model: DCGMM) -> str | None:
    """Why a model is no density of the image, in words; None where it is one."""
    layers = list(model.named_layers.values())
    if model.exponent != 1:
        return "its pixels are raised to an exponent, which has no finite derivative at black"
    lower, upper = layers[:2], layers[2:]
    if isinstance(layers[0], GMM):
        lower, upper = layers[:1], layers[1:]
    if not isinstance(lower[-1], GMM) or (len(lower) == 2 and not _tiles(lower[0])):
        return "the windows of its first GMM layer do not tile the image: pixels count several times, or not at all"
    if not upper:
        return None
    whole = len(upper) == 2 and isinstance(upper[0], Folding) and upper[0].window.kernel == upper[0].input_shape[:2]
    if not (whole and isinstance(upper[1], GMM)):
        return "above its first GMM layer is more than one that sees all of it: that likelihood is of responsibilities"
    return None


def _tiles(layer: Layer) -> bool:
    if not isinstance(layer, Folding):
        return False
    (kh, kw), (height, width) = layer.window.kernel, layer.input_shape[:2]
    alone = (kh, kw) == (height, width)
    return alone or (layer.window.stride == (kh, kw) and height % kh == 0 and width % kw == 0)


@torch.no_grad()
def density(model: DCGMM, images: Images) -> Density:
    """Log-density of images.

    Bits per dimension are those of byte values: each stands for a cell of width 1/255 around its level, of which the
    density, smooth on that scale, is taken in the middle: (-nats + D log 255) / (D log 2) with D = H W C.

    Args:
        model: a density of the image, one (no batch_shape).
        images: (N, H, W, C) as `as_images` takes them.

    Raises:
        InputError: the model is no density of the image, or the images do not fit it.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("1L"))
        >>> images = dcgmm.datasets.load("mnist_sample", limit=5).test.images
        >>> dcgmm.density(model, images).bits_per_dimension.shape
        torch.Size([5])
    """
    if reason := why_no_density(model):
        raise InputError(f"the model is not a density of the image: {reason}")
    given = as_images(images, model.input_shape)
    parts = [torch.empty(0, dtype=torch.float64)]
    parts += [
        _log_density(model, batch).double().cpu()
        for batch in image_batches(given, model.batch_size, model.dtype, model.device)
    ]
    nats, dimensions = torch.cat(parts), math.prod(model.input_shape)
    return Density(nats, (math.log(LEVELS) - nats / dimensions) / math.log(2))


def _log_density(model: DCGMM, x: Tensor) -> Tensor:  # (N, H, W, C) -> (N,)
    lower, *upper = model.gmms.values()
    scored = model.score_floats(x, up_to="gmm1")["gmm1"]
    if not upper:
        return scored.log_prob.double().sum((-2, -1))
    top = upper[0]
    windows = (scored.component_scores - lower.log_weights).flatten(1, 2).movedim(1, 0)  # (P, N, J), log N_j(x_p)
    expected, log_weights = arrangement(top, lower.components)[0], top.log_weights.double()
    if not top.shared:  # of its only position
        expected, log_weights = expected[0, 0], log_weights[0, 0]
    shift = windows.amax(-1, keepdim=True)
    # expected is (P, K, J)
    mixed = ((windows - shift).exp() @ expected.mT).clamp(min=torch.finfo(x.dtype).tiny).log() + shift  # (P, N, K)
    return (mixed.double().sum(0) + log_weights).logsumexp(-1)
