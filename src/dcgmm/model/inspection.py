"""Figures that tell what a model makes of images: how its components are used, how likely its layers find them.

Shapes: N images, K components.
"""

import torch
from torch import Tensor

from dcgmm.images import Images, as_images, image_batches
from dcgmm.model.stack import DCGMM


@torch.no_grad()
def component_use(model: DCGMM, images: Images) -> dict[str, Tensor]:  # (K,) each
    """Share of positions and images at which each component of each GMM layer is the most likely one.

    Args:
        model: the model.
        images: (N, H, W, C), uint8 or float in [0, 1], N >= 1.

    Raises:
        InputError: the images have another shape than the model takes, or values outside [0, 1].
    """
    checked = as_images(images, model.input_shape)
    counts = {name: torch.zeros(gmm.components, dtype=torch.long) for name, gmm in model.gmms.items()}
    for batch in image_batches(checked, model.batch_size, model.dtype):
        for name, scored in model.score_floats(batch.to(model.device)).items():
            winner = scored.component_scores.argmax(-1).flatten().cpu()
            counts[name] += torch.bincount(winner, minlength=len(counts[name]))
    return {name: count.double() / count.sum() for name, count in counts.items()}


@torch.no_grad()
def mean_log_likelihoods(model: DCGMM, draws: Tensor) -> dict[str, float]:  # (N, H, W, C)
    """Log-likelihood in every GMM layer (nats), mean over images and positions.

    Args:
        model: the model.
        draws: floats, N >= 1, that may leave [0, 1] as a model's samples do.
    """
    parts = [model.score_floats(batch) for batch in draws.split(model.batch_size)]
    return {
        name: float(torch.cat([part[name].log_prob for part in parts]).double().mean(0).mean()) for name in model.gmms
    }
