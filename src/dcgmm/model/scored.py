"""What passes between a GMM layer and those who use it: scores of a batch, sums of a step, rates."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from dcgmm.model import native
from dcgmm.model.gaussian import NaturalParameters
from dcgmm.model.patches import Patches


class Rates(NamedTuple):
    """Learning rate of each kind of parameter, of batch_shape.

    Examples:
        >>> import torch
        >>> Rates(*torch.full((4,), 0.05)).loc
        tensor(0.0500)
    """

    logits: Tensor
    loc: Tensor
    precision_sqrt: Tensor
    factors: Tensor  # which only factor-analysing layers have


class Sums(NamedTuple):
    """What a step of a GMM layer needs to know of its points: sums over those that each component wins.

    Of several batches of as many points each, all but the objective add up.

    Examples:
        >>> import torch
        >>> from dcgmm.model import GMM, Shape
        >>> sums, _ = GMM(Shape(4, 4, 49), components=25).sums(torch.rand(5, 4, 4, 49), None, passes_on=False)
        >>> sums.counts.sum()
        tensor(80.)
    """

    objective: Tensor  # (...), mean over the points
    counts: Tensor  # (..., K)
    first: Tensor  # (..., K, D), of x
    second: Tensor  # (..., K, D), of x^2
    cross: Tensor | None = None  # (..., K, D, L), of x z^T, where the layer has factors


@dataclass(frozen=True)
class Scored:
    """What a GMM layer says of a batch. Densities are in nats, per sample and position.

    Examples:
        >>> import torch
        >>> from dcgmm.model import GMM, Shape
        >>> GMM(Shape(4, 4, 49), components=25).score(torch.rand(5, 4, 4, 49)).responsibilities.shape
        torch.Size([5, 4, 4, 25])
    """

    patches: Patches  # what was scored
    log_weights: Tensor  # (..., K), or (..., H, W, K) where each position has its own, and with which parameters
    natural: NaturalParameters
    component_scores: Tensor  # (..., N, H, W, K), log pi_k + log N_k
    shares: Tensor | None = None  # (N, H, W, D), share of what each feature stands for that was seen; None: all

    @property
    def log_prob(self) -> Tensor:  # (..., N, H, W)
        """Log-likelihood, log sum_k pi_k N_k(x) (equation 3)."""
        scores = self.component_scores
        return native.log_prob(scores) if native.takes(scores) else scores.logsumexp(-1)

    @property
    def max_component_score(self) -> Tensor:  # (..., N, H, W)
        """Max-component approximation, max_k [log pi_k + log N_k(x)]."""
        scores = self.component_scores
        return native.largest(scores) if native.takes(scores) else scores.amax(-1)

    @property
    def responsibilities(self) -> Tensor:  # (..., N, H, W, K)
        """Posterior of the components, pi_k N_k / sum_j pi_j N_j (equation 2)."""
        scores = self.component_scores
        return native.responsibilities(scores) if native.takes(scores) else scores.softmax(-1)
