"""Small models with labelled images."""

import torch
from torch import Tensor

from dcgmm.model import DCGMM, LayerOptions, LayerType

OPEN = [  # 3x2 positions
    LayerOptions(LayerType.folding, kernel=[2, 2], stride=[1, 1]),
    LayerOptions(LayerType.gmm, components=4),
]


def filled(model: DCGMM, seed: int = 0) -> DCGMM:
    """A model in float64 with parameters that are all different."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for layer in model.gmms.values():
            layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator))
            layer.loc.copy_(torch.rand(layer.loc.shape, generator=generator))
            layer.precision_sqrt.copy_(1 + 3 * torch.rand(layer.loc.shape, generator=generator))
    return model


def flat_model(height: int = 2, width: int = 3, components: int = 4) -> DCGMM:
    """One mixture over the whole image."""
    layers = [
        LayerOptions(LayerType.folding, kernel=[height, width]),
        LayerOptions(LayerType.gmm, components=components),
    ]
    return filled(DCGMM.build((height, width, 1), layers))


def open_model() -> DCGMM:
    """A top layer with 3x2 positions."""
    return filled(DCGMM.build((4, 3, 1), OPEN))


def grouped(count: int = 80) -> tuple[DCGMM, Tensor, Tensor]:  # images (N, 2, 2, 1), labels (N,)
    """A flat model of four narrow components far apart, and images around them: two for class 3, two for 8."""
    model = flat_model(2, 2)
    gmm = model.gmms["gmm1"]
    centres = torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9]])
    with torch.no_grad():
        gmm.loc.copy_(centres)
        gmm.precision_sqrt.fill_(50.0)
    generator = torch.Generator().manual_seed(1)
    component = torch.randint(0, 4, (count,), generator=generator)
    noise = 0.02 * torch.randn(count, 4, dtype=torch.float64, generator=generator)
    images = (centres[component].double() + noise).clamp(0, 1).view(count, 2, 2, 1)
    return model, images, torch.tensor([3, 3, 8, 8])[component]
