"""Models that the tests of generation share."""

from typing import Any

import torch

from dcgmm.model import DCGMM, Architecture
from dcgmm.options import made


def folding(*sizes: int) -> dict[str, Any]:
    return {"type": "folding", "kernel": sizes[:2], "stride": sizes[2:]}


def gmm(components: int) -> dict[str, Any]:
    return {"type": "gmm", "components": components}


def spread(model: DCGMM, seed: int = 0) -> DCGMM:
    """The model with parameters that are all different, in float64."""
    generator = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for layer in model.gmms.values():
            layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator, dtype=torch.float64))
            layer.loc.copy_(torch.rand(layer.loc.shape, generator=generator, dtype=torch.float64))
            layer.precision_sqrt.copy_(1 + 3 * torch.rand(layer.loc.shape, generator=generator, dtype=torch.float64))
    return model


# Not square, two channels, unequal strides, a pooling window that juts out.
AWKWARD = [folding(3, 2, 2, 1), gmm(4), {"type": "pooling", "kernel": (2, 2)}, folding(2, 3, 1, 1), gmm(9)]


def awkward(exponent: float = 1.0) -> DCGMM:
    return spread(DCGMM.build((9, 7, 2), made(Architecture, {"layers": AWKWARD, "exponent": exponent})))


def flat(components: int = 4) -> DCGMM:
    return spread(DCGMM.build((3, 2, 1), [folding(3, 2, 1, 1), gmm(components)]))
