"""The Fréchet distance between two sets of images, in the features of a judge.

Legend: N images, D features. The distance is that of the Gaussians with the sets' means and covariances; it is meant
for comparisons by one judge only, and says nothing beside distances that were taken in the features of another network.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.generation.classifier import Judge


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features, in float64 on the CPU.

    Attributes:
        mean: (D,).
        covariance: (D, D), unbiased.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> dcgmm.generation.Moments.of(torch.tensor([[0.0, 1.0], [2.0, 1.0]])).covariance.tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Self:  # (N, D)
        """Moments of the rows of features (N, D).

        Raises:
            InputError: there are fewer than 2, or a value is NaN or infinite.
        """
        if len(features) < 2:
            raise InputError(f"a Fréchet distance needs sets of at least 2 images, not {len(features)}")
        rows = features.detach().to("cpu", torch.float64)
        if not bool(rows.isfinite().all()):
            raise InputError("a Fréchet distance needs finite features: the images hold NaN or infinite values")
        mean = rows.mean(0)
        centred = rows - mean
        return cls(mean, centred.mT @ centred / (len(rows) - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Fréchet distance of two Gaussians, `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`.

    The trace of the root is the sum of the singular values of `C1^(1/2) C2^(1/2)`, which needs no inverse: covariances
    of few images, which have no full rank, do no harm.

    Args:
        first, second: moments of features in the same D dimensions.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> features = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
        >>> near, far = dcgmm.generation.Moments.of(features), dcgmm.generation.Moments.of(features + 3)
        >>> round(dcgmm.generation.frechet_distance(near, far), 6)  # 3^2 in each dimension
        18.0

    Source: Dowson & Landau (1982); Heusel et al. (2017), "GANs trained by a two time-scale update rule".
    """
    gap = (first.mean - second.mean).square().sum()
    common = torch.linalg.svdvals(_root(first.covariance) @ _root(second.covariance)).sum()
    return max(0.0, float(gap + first.covariance.trace() + second.covariance.trace() - 2 * common))


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    return root


@dataclass(frozen=True)
class FeatureReference:
    """What features are compared with: those of real images that no model was trained on.

    A distance falls with the number of images, so all are taken of equally many: `count` of a set.

    Attributes:
        judge: whose features they are.
        moments: of the real images' features.
        size: how many real images that were.
        count: images of a set that are compared.

    Examples:
        >>> import dcgmm
        >>> from dcgmm.judges import judge_of
        >>> data = dcgmm.datasets.load("mnist_sample")
        >>> judge = judge_of("mnist_sample", data.train.images, data.train.labels)
        >>> reference = dcgmm.generation.FeatureReference.of(judge, data.test.images, count=200)
        >>> negatives = 255 - data.test.images
        >>> reference.distance(data.test.images) < reference.distance(negatives)
        True
    """

    judge: Judge
    moments: Moments
    size: int
    count: int

    @classmethod
    def of(cls, judge: Judge, held_out: Tensor, count: int) -> Self:  # (M, H, W, C)
        """Reference of held-out images but the first `count` (of few images: the first half).

        Those that are left out are as good as samples can be: their distance is what a perfect model would have.

        Args:
            judge: of the data set.
            held_out: (M, H, W, C), uint8 or float.
            count: images of a set that is to be compared.

        Raises:
            InputError: there are fewer than 4 held-out images, or `count` is below 2.
        """
        if len(held_out) < 4 or count < 2:
            raise InputError(
                f"a Fréchet distance needs 4 held-out images and 2 others, not {len(held_out)} and {count}"
            )
        count = min(count, len(held_out) // 2)
        return cls(judge, Moments.of(judge.features(held_out[count:])), len(held_out) - count, count)

    def distance(self, images: Tensor) -> float:  # (N, H, W, C), uint8 or float
        """Distance of the first `count` of images (N, H, W, C), uint8 or float."""
        return frechet_distance(Moments.of(self.judge.features(images[: self.count])), self.moments)
