"""The images themselves in a mixture whose components are those of a model's top GMM layer.

The log-likelihood of pixels is high for plain images whatever they show (Serrà et al., "Input complexity and
out-of-distribution detection with likelihood-based generative models", 2020). So the score is what remains of it
after the part that an image's roughness leads to expect, by a fit on the training images.

Shapes: N images of F values, K components of the top layer.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm_cli.model import Scored
from dcgmm_cli.model.gaussian import natural_parameters

# Added to every variance, of values in [0, 1], so that a pixel that never varies in training does not decide alone.
VARIANCE = 0.1

# Smallest total variation: that of a blank image.
BLANK = 1e-6


def spread(images: Tensor) -> Tensor:  # (N, H, W, C) in [0, 1] -> (N, H, W, C)
    """Square roots of the pixel values: dark pixels, most of an image, count as much as bright ones."""
    return images.clamp(min=0).sqrt()


def roughness(images: Tensor) -> Tensor:  # (N, H, W, C) in [0, 1] -> (N,) float64
    """Log of the total variation, a pixel, of the fourth roots of the pixel values: it counts edges, dark ones too."""
    x = spread(images).sqrt()
    down, right = x.diff(dim=1).abs(), x.diff(dim=2).abs()
    total = down.double().sum((1, 2, 3)) + right.double().sum((1, 2, 3))
    return (total / images[0].numel()).clamp(min=BLANK).log()


@dataclass(frozen=True)
class PixelMixture:
    """Diagonal Gaussians over square roots of pixels: one step of expectation-maximisation, top components given.

    Weight, mean and variance of a component are those of the training images, each with the share to which the top
    layer gives it to the component: its responsibility, mean over the layer's positions.
    """

    weights: Tensor  # (K,)
    mean: Tensor  # (K, F)
    variance: Tensor  # (K, F), VARIANCE included
    expected: Tensor  # (2,) float64, intercept and slope of the log-likelihood over roughness

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], device: torch.device) -> Self:
        """The mixture that `state_dict` was taken of."""
        return cls(**{name: part.to(device) for name, part in state.items()})

    def state_dict(self) -> dict[str, Any]:
        """The parameters by name."""
        return asdict(self)

    def log_prob(self, images: Tensor) -> Tensor:  # (N, H, W, C) in [0, 1] -> (N,) float64
        """Log-likelihood, log-sum-exp over the components (nats)."""
        x = spread(images).flatten(1)
        natural = natural_parameters(self.weights.log(), self.mean, self.variance.rsqrt())
        scores = natural.constant + x @ natural.linear.mT - 0.5 * x.square() @ natural.precision.mT
        return scores.double().logsumexp(-1)

    def expecting(self, log_prob: Tensor, rough: Tensor) -> Self:  # (N,), (N,) float64
        """With `expected` fitted by least squares to training images' log-likelihood and roughness."""
        centred = rough - rough.mean()
        slope = (centred * log_prob).sum() / centred.square().sum().clamp(min=torch.finfo(rough.dtype).tiny)
        return replace(self, expected=torch.stack([log_prob.mean() - slope * rough.mean(), slope]))

    def residual(self, log_prob: Tensor, rough: Tensor) -> Tensor:  # (N,), (N,) float64 -> (N,)
        """The part of the log-likelihood that roughness does not lead to expect (nats)."""
        return log_prob - self.expected[0] - self.expected[1] * rough

    def score(self, images: Tensor) -> Tensor:  # (N, H, W, C) in [0, 1] -> (N,) float64
        """`residual` of images (nats)."""
        return self.residual(self.log_prob(images), roughness(images))


class PixelSums:
    """Sums over training images, batch by batch in float64, that a mixture is made of."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []  # (K,), (K, F), (K, F): of shares, and of x and x^2 by share

    def add(self, images: Tensor, scored: Scored) -> None:  # (N, H, W, C) in [0, 1]
        """Add images, with the top layer's scores for them."""
        x, share = spread(images).flatten(1).double(), scored.responsibilities.double().mean((-3, -2)).mT
        parts = [share.sum(1), share @ x, share @ x.square()]
        self._sums = [total + part for total, part in zip(self._sums, parts, strict=True)] if self._sums else parts

    def mixture(self, dtype: torch.dtype) -> PixelMixture:
        """The mixture of all images that were added, which expects nothing of roughness yet."""
        count, first, second = self._sums
        size = count.clamp(min=torch.finfo(count.dtype).tiny).unsqueeze(1)
        mean = first / size
        variance = (second / size - mean.square()).clamp(min=0) + VARIANCE
        weights = count / count.sum()
        return PixelMixture(weights.to(dtype), mean.to(dtype), variance.to(dtype), expected=count.new_zeros(2))
