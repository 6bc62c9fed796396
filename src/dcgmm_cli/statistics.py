"""Long-term statistics of the log-likelihood per GMM layer and position (section 3.2.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dcgmm_cli.model import DCGMM


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations over samples, float64; mergeable in any order (Chan et al., 1983)."""

    count: int
    mean: Tensor  # (H, W)
    squares: Tensor  # (H, W), sum over samples of (value - mean)^2

    @classmethod
    def of(cls, values: Tensor) -> Self:  # (N, H, W), N >= 1
        """Moments of one batch."""
        exact = values.double()
        mean = exact.mean(0)
        return cls(len(exact), mean, (exact - mean).square().sum(0))

    def merge(self, other: Self) -> Self:
        """Moments of both batches together."""
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        squares = self.squares + other.squares + delta.square() * (self.count * other.count / count)
        return type(self)(count, mean, squares)

    @property
    def variance(self) -> Tensor:  # (H, W)
        """Variance over the samples (population)."""
        return self.squares / self.count


def image_batches(images: Tensor, batch_size: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """Images (N, H, W, C), uint8 or float in [0, 1], in batches scaled to [0, 1]."""
    for start in range(0, len(images), batch_size):
        yield to_float(images[start : start + batch_size], dtype)


def to_float(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images as floats in [0, 1]: uint8 is divided by 255."""
    scaled = images.to(dtype)
    return scaled.mul_(1 / 255) if images.dtype == torch.uint8 else scaled


@torch.no_grad()
def log_likelihood_moments(model: DCGMM, images: Tensor, batch_size: int = 200) -> dict[str, Moments]:
    """Moments of the log-likelihood (log-sum-exp, nats) of every GMM layer at every position.

    Args:
        model: the model.
        images: (N, H, W, C), N >= 1, uint8 or float in [0, 1], on the model's device.
        batch_size: images at a time; the result does not depend on it beyond float64 rounding.
    """
    total: dict[str, Moments] = {}
    for batch in image_batches(images, batch_size, model.dtype):
        for name, scored in model.score(batch).items():
            moments = Moments.of(scored.log_prob)
            total[name] = total[name].merge(moments) if name in total else moments
    return total
