"""The images themselves in a mixture whose components are those of a model's top GMM layer.

Shapes: N images of F values, K components of the top layer.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from dcgmm.distributed import ALONE, Processes
from dcgmm.errors import InputError
from dcgmm.images import Images
from dcgmm.model.conditionals import marginal_scores
from dcgmm.model.gaussian import natural_parameters
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.batches import batches

# Added to every variance, of values in [0, 1], so that a pixel that never varies in training does not decide alone.
VARIANCE = 0.1
AT_A_TIME = 2**26  # bytes of images, as float64


def spread(images: Tensor) -> Tensor:  # (N, H, W, C) in [0, 1] -> (N, F)
    """Square roots of the pixel values: dark pixels, most of an image, count as much as bright ones."""
    return images.clamp(min=0).sqrt().flatten(1)


@dataclass(frozen=True)
class PixelMixture:
    """Diagonal Gaussians over square roots of pixels: one step of expectation-maximisation, top components given.

    Weight, mean and variance of a component are those of the training images, each with the share to which the top
    layer gives it to the component: its responsibility, mean over the layer's positions. Where each of these has
    components of its own, all H W K of them are told apart.
    """

    weights: Tensor  # (K,)
    mean: Tensor  # (K, F)
    variance: Tensor  # (K, F), VARIANCE included

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], device: torch.device) -> Self:
        """The mixture that `state_dict` was taken of."""
        return cls(**{name: part.to(device) for name, part in state.items()})

    def state_dict(self) -> dict[str, Any]:
        """The parameters by name."""
        return asdict(self)

    def check(self, components: int, features: int) -> None:
        """Refuse what is no mixture of so many components over so many features.

        Raises:
            InputError: the parameters have other shapes, are not finite, or no weights and variances.
        """
        shapes = {"weights": (components,), "mean": (components, features), "variance": (components, features)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape or not value.is_floating_point() or not value.isfinite().all():
                raise InputError(
                    f"{name} of the pixels' mixture: shape {list(value.shape)}, not {list(shape)}, or no finite floats"
                )
        if (self.weights < 0).any() or not self.weights.any() or (self.variance <= 0).any():
            raise InputError("the pixels' mixture has negative weights or variances, or weights that are all 0")

    def log_prob(
        self,
        images: Tensor,  # (N, H, W, C) in [0, 1]
        seen: Tensor | None = None,  # (N, H, W, C) bool; None: all
    ) -> Tensor:  # (N,) float64
        """Log-likelihood of what was seen, log-sum-exp over the components (nats)."""
        parameters = (self.weights.log(), self.mean, self.variance.rsqrt())
        if seen is not None:
            no_factors = self.mean.new_empty(*self.mean.shape, 0)
            return marginal_scores(spread(images), seen.flatten(1), *parameters, no_factors).double().logsumexp(-1)
        natural = natural_parameters(*parameters)
        scores = [
            natural.constant + x @ natural.linear.mT - 0.5 * x.square() @ natural.precision.mT
            for x in map(spread, images.split(_size(images)))
        ]
        return torch.cat(scores).double().logsumexp(-1)


class PixelSums:
    """Sums over training images, batch by batch in float64, that a mixture is made of."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []  # (K,), (K, F), (K, F): of shares, and of x and x^2 by share

    def add(self, images: Tensor, scored: Scored) -> None:  # (N, H, W, C) in [0, 1]
        """Add images, with the top layer's scores for them."""
        shares, size = _shares(scored), _size(images)
        if not self._sums:
            components, features = shares.shape[1], images.shape[1:].numel()
            self._sums = [shares.new_zeros(components, *rest) for rest in ((), (features,), (features,))]
        count, first, second = self._sums
        for some, share in zip(images.split(size), shares.split(size), strict=True):
            x = spread(some).double()
            count += share.sum(0)
            first.addmm_(share.mT, x)
            second.addmm_(share.mT, x.square_())

    def mixture(self, dtype: torch.dtype, processes: Processes = ALONE) -> PixelMixture:
        """The mixture of all images that were added, by all of some processes; it takes the place of the sums."""
        count, mean, variance = processes.summed(self._sums)
        size = count.clamp(min=torch.finfo(count.dtype).tiny).unsqueeze(1)
        mean /= size
        variance.div_(size).sub_(mean.square()).clamp_(min=0).add_(VARIANCE)
        weights = count / count.sum()
        return PixelMixture(weights.to(dtype), mean.to(dtype), variance.to(dtype))


def pixel_mixture(
    model: DCGMM, images: Images, batch_size: int | None = None, processes: Processes = ALONE
) -> PixelMixture:
    """The mixture of images (N, H, W, C), N >= 1, that a model was trained on; shared out among processes."""
    sums, (mine, sharing) = PixelSums(), processes.shared(images)
    for batch in batches(model, mine, size=batch_size):
        sums.add(batch.x, list(batch.scored(model).values())[-1])
    return sums.mixture(model.dtype, sharing)


def _size(images: Tensor) -> int:
    """Images that are squared and summed up at a time."""
    return max(1, AT_A_TIME // (8 * images.shape[1:].numel()))


def _shares(scored: Scored) -> Tensor:  # (N, K)
    responsibilities = scored.responsibilities.double()  # (N, H, W, K)
    if scored.log_weights.dim() == 1:
        return responsibilities.mean((-3, -2))
    return responsibilities.flatten(1) / responsibilities.shape[1:3].numel()
