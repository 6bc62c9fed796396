"""Small models with parameters that are all different."""

from typing import TypeVar

import torch
from torch import Tensor

from dcgmm.model import DCGMM, LayerOptions, LayerType
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.factors import project

M = TypeVar("M", FactorGMM, DCGMM)

SHAPE = (9, 7, 2)  # not square, two channels
LAYERS = [
    LayerOptions(LayerType.folding, kernel=[3, 2], stride=[2, 1]),
    LayerOptions(LayerType.gmm, components=4),
    LayerOptions(LayerType.pooling, kernel=[2, 2]),
    LayerOptions(LayerType.folding, kernel=[2, 3], stride=[1, 1]),
    LayerOptions(LayerType.gmm, components=9),
]


def small_model(seed: int = 0) -> DCGMM:
    """Two GMM layers in float64, gmm1 with 4x6 positions, gmm2 with one."""
    generator = torch.Generator().manual_seed(seed)
    model = DCGMM.build(SHAPE, LAYERS).double()
    with torch.no_grad():
        for layer in model.gmms.values():
            layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator))
            layer.loc.copy_(torch.rand(layer.loc.shape, generator=generator))
            layer.precision_sqrt.copy_(1 + 3 * torch.rand(layer.loc.shape, generator=generator))
    return model


def small_images(count: int, seed: int = 0) -> Tensor:  # (N, 9, 7, 2)
    """Bytes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)


def give_factors(subject: M, seed: int = 0, floor: float | None = None) -> M:
    """A layer, or all of a model that can have them, with factors that are nowhere special; some lie at the floor."""
    layers = [subject] if isinstance(subject, FactorGMM) else subject.gmms.values()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, FactorGMM):
                drawn = torch.randn(layer.factors.shape, generator=generator, dtype=torch.float64)
                wide = 0.5 * layer.precision_sqrt.double().unsqueeze(-1) * drawn
                least = layer.options.factor_floor if floor is None else floor
                layer.factors.copy_(project(layer.precision_sqrt.double(), wide, least))
                layer.refresh()
    return subject
