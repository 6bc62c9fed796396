"""How likely a model's layers find images.

Shapes: N images.
"""

import torch
from torch import Tensor

from dcgmm.model.stack import DCGMM


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
