"""Mixture weights that follow use: the closed-form M step for them at the end of training.

At the logits' small rate weights hardly learn: components that no image is explained by keep theirs, and are drawn in
sampling.

Shapes: N images, K components; `...` is (H, W) in a layer with parameters of its own at each position, else ().
"""

import torch
from torch import Tensor

from dcgmm.distributed import ALONE, Processes
from dcgmm.images import Images, as_images, image_batches
from dcgmm.model.gmm import GMM
from dcgmm.model.stack import BATCH_BYTES, DCGMM

TOP_PASSES = 3  # steps of expectation-maximisation for the top layer's weights; those under it take one
LEAST = 1e-12  # weight of a component that no image is explained by: its logarithm is finite


@torch.no_grad()
def weights_by_use(model: DCGMM, images: Images, processes: Processes = ALONE) -> None:
    """Set each GMM layer's mixture weights to its mean responsibilities, in place, from the bottom up.

        pi_k = mean over images and positions of r_k

    is the maximisation step for them alone, so that a layer's likelihood of these images never falls; where each
    position has weights of its own the mean is over images. The lower layers go first, since they change what the upper
    ones see, if only a little.

    Args:
        model: trained, one (no batch_shape).
        images: (N, H, W, C), N >= 1, as `as_images` takes them; those that it was trained on.
        processes: that share the images, each with the same model.

    Raises:
        InputError: the images do not fit the model.

    Examples:
        >>> model = DCGMM.build((4, 4, 1), [{"type": "gmm", "components": 4}])
        >>> weights_by_use(model, torch.rand(10, 4, 4, 1))
        >>> model.gmms["gmm1"].log_weights.exp().sum()
        tensor(1., grad_fn=<SumBackward0>)

    Source: Dempster, Laird & Rubin (1977).
    """
    checked = as_images(images, model.input_shape)
    mine, sharing = processes.shared(checked)
    *lower, top = model.gmms
    for name in lower:
        _set_weights(model.gmms[name], mean_responsibilities(model, checked, name, processes))
    gmm = model.gmms[top]
    size = len(checked) * gmm.output_shape.positions * gmm.components * gmm.loc.element_size()
    densities = _log_densities(model, mine, top) if size <= BATCH_BYTES else None
    for _ in range(TOP_PASSES):
        if densities is None:
            _set_weights(gmm, mean_responsibilities(model, checked, top, processes))
        else:
            log_weights = gmm.log_weights.unsqueeze(-2)
            own = torch.stack([(part + log_weights).softmax(-1).double().sum(-2) for part in densities]).sum(0)
            (use,) = sharing.summed([own])
            _set_weights(gmm, use / use.sum(-1, keepdim=True))


def _set_weights(gmm: GMM, use: Tensor) -> None:  # (..., K)
    gmm.logits.copy_(use.clamp(min=LEAST).log())


def _log_densities(model: DCGMM, images: Tensor, layer: str) -> list[Tensor]:  # (..., n, K) each
    """Log-densities log N_k of what a GMM layer sees, a batch of images each: weights do not change them."""
    log_weights = model.gmms[layer].log_weights
    scored = (
        model.score_floats(batch)[layer] for batch in image_batches(images, model.batch_size, model.dtype, model.device)
    )
    return [part.patches.points(part.component_scores - log_weights) for part in scored]


@torch.no_grad()
def mean_responsibilities(
    model: DCGMM,
    images: Tensor,  # (N, H, W, C)
    layer: str,
    processes: Processes = ALONE,
) -> Tensor:  # (..., K) float64
    """Mean responsibility of each component of a GMM layer, over images and positions; at each that has its own."""
    gmm = model.gmms[layer]
    mine, sharing = processes.shared(images)
    total = torch.zeros(gmm.logits.shape, dtype=torch.float64, device=model.device)
    for batch in image_batches(mine, model.batch_size, model.dtype, model.device):
        scored = model.score_floats(batch, up_to=layer)[layer]
        total += scored.patches.points(scored.responsibilities).double().sum(-2)
    (total,) = sharing.summed([total])
    return total / (len(images) * (gmm.output_shape.positions if gmm.shared else 1))
