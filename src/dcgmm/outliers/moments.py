"""Long-term statistics of the log-likelihood per GMM layer and position (section 3.2.2)."""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm.distributed import ALONE, Processes
from dcgmm.images import Images
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.batches import batches

# Positions that (nearly) never vary in training, such as an image's corners, count as varying by this fraction of the
# layer's mean deviation: else rounding there would outweigh all else.
DEVIATION_FLOOR = 0.02


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations over samples, float64; mergeable in any order.

    Attributes:
        count: samples.
        mean: (H, W), or of any other shape that values have.
        squares: (H, W), sum over samples of (value - mean)^2.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> values = torch.tensor([1.0, 3.0, 8.0]).view(3, 1, 1)
        >>> both = dcgmm.outliers.Moments.of(values[:1]).merge(dcgmm.outliers.Moments.of(values[1:]))
        >>> both.count, float(both.mean), float(both.squares)
        (3, 4.0, 26.0)

    Source: Chan, Golub & LeVeque (1983).
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> Self:
        """The moments that `state_dict` was taken of."""
        return cls(state["count"], state["mean"].to(device), state["squares"].to(device))

    def state_dict(self) -> dict[str, Any]:
        """The three parts by name."""
        return asdict(self)

    @classmethod
    def of(cls, values: Tensor) -> Self:  # (N, H, W), N >= 1
        """Moments of one batch, (N, H, W), N >= 1."""
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


def deviation(moments: Moments) -> Tensor:  # (...)
    """Standard deviation at each position, of those that nearly never vary a part of the mean one."""
    found = moments.variance.sqrt()
    return found.clamp(min=DEVIATION_FLOOR * found.mean())


def standardise(values: Tensor, moments: Moments) -> Tensor:  # (N, ...) -> (N, ...), float64
    """Distance from the training mean in training standard deviations, (value - mean) / std, at each position (...).

    A position is an inlier at c where this is at least -c (section 3.2.2: L >= mean - c std).
    """
    # Where no position ever varies, only the mean itself is usual.
    difference = values.double() - moments.mean
    return torch.where(difference == 0, 0.0, difference / deviation(moments))


def sound(moments: Mapping[str, Moments], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether there are moments of these names and shapes, and can be such."""
    return moments.keys() == shapes.keys() and all(
        type(each.count) is int
        and each.count >= 1
        and tuple(each.mean.shape) == tuple(each.squares.shape) == shapes[name]
        and bool(each.mean.isfinite().all() and each.squares.isfinite().all() and (each.squares >= 0).all())
        for name, each in moments.items()
    )


@torch.no_grad()
def log_likelihood_moments(
    model: DCGMM,
    images: Images,
    batch_size: int | None = None,
    observed: Images | None = None,
    *,
    pooled: bool = False,
    processes: Processes = ALONE,
) -> dict[str, Moments]:
    """Moments of the log-likelihood (log-sum-exp, nats) of every GMM layer at every position.

    Args:
        model: the model.
        images: (N, H, W, C), N >= 1, as `as_images` takes them.
        batch_size: images at a time, by default as many as memory bears; the result does not depend on it beyond
            float64 rounding.
        observed: (N, H, W) or (H, W), which pixels are taken for seen; None: all.
        pooled: whether all positions of a layer are counted together, as one, (1, 1).
        processes: that share the images, where all of them are seen.

    Raises:
        InputError: the images or the mask do not fit the model.

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("mnist_sample", limit=50)
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> moments = dcgmm.outliers.log_likelihood_moments(model, data.train.images)
        >>> moments["gmm1"].count, moments["gmm1"].variance.shape
        (50, torch.Size([4, 4]))

    Source: section 3.2.2.
    """
    mine, sharing = processes.shared(images)
    total: dict[str, Moments] = {}
    for batch in batches(model, mine, observed, batch_size):
        for name, scored in batch.scored(model).items():
            values = scored.log_prob
            moments = Moments.of(values.reshape(-1, 1, 1) if pooled else values)
            total[name] = total[name].merge(moments) if name in total else moments
    if sharing.size == 1:
        return total
    parts = sharing.gathered({name: moments.state_dict() for name, moments in total.items()})
    merged = [{name: Moments.from_state(state, model.device) for name, state in part.items()} for part in parts]
    return {name: functools.reduce(Moments.merge, [part[name] for part in merged]) for name in total}
