"""What single components of a model generate.

Shapes: K components, H W pixels, C channels.
"""

import torch
from torch import Tensor

from dcgmm.generation.options import SamplingOptions
from dcgmm.generation.sampling import Samples, sample
from dcgmm.model.stack import DCGMM


def mean_images(model: DCGMM, layer: str, seed: int = 0, draws: int = 16) -> Tensor:  # (K, H, W, C)
    """Mean image that each component of a GMM layer generates: no noise in the Gaussians, lower components drawn.

    At a layer with several positions, every position is given the component.

    Args:
        model: the model.
        layer: the GMM layer's name.
        seed: of what is drawn.
        draws: images that a mean is taken of.
    """
    names = list(model.gmms)
    involved = [model.gmms[name].components for name in names[: names.index(layer) + 1]]
    means = []
    for component in range(model.gmms[layer].components):
        options = SamplingOptions(min(involved), 0.0, 0.0, start=layer, components=str(component))
        means.append(sample(model, draws, seed=seed, options=options).images.mean(0))
    return torch.stack(means)


def greedy_sample(model: DCGMM, component: int, seed: int = 0) -> Samples:
    """One image of a component of the top GMM layer, without noise: the strongest entry decides in every layer."""
    options = SamplingOptions(1, 0.0, 0.0, start=list(model.gmms)[-1], components=str(component))
    return sample(model, 1, seed=seed, options=options)
