"""The log-likelihood of a GMM layer as a function of what a Folding layer generated, and its gradient (section 3.2.3).

Legend: N samples, H W positions, C channels, K components, D patch features, T a Folding layer's downward output.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation.options import SharpeningOptions
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.factors import add_factors, pull_factors
from dcgmm.model.folding import Folding
from dcgmm.model.gaussian import natural_parameters
from dcgmm.model.gmm import GMM
from dcgmm.model.patches import SINGLE, Patches, fold_sum, unfold
from dcgmm.model.pooling import Pooling
from dcgmm.model.shapes import Window
from dcgmm.model.stack import DCGMM

# A stage's output, and the function that takes a gradient of the output back to one of the input.
Stage = Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]


class Mixture:
    """A GMM layer as a function of what lies under the Folding layer before it, if there is one."""

    def __init__(self, gmm: GMM, folding: Folding | None) -> None:
        self._gmm = gmm
        self._natural = natural_parameters(gmm.log_weights.detach(), gmm.loc.detach(), gmm.precision_sqrt.detach())
        self._window = folding.window if folding else SINGLE
        self._factors = gmm.factor_parameters() if isinstance(gmm, FactorGMM) and gmm.has_factors else None

    def scores(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:  # (N, H, W, C) -> (N, H', W', K)
        """log pi_k + log N_k at each position, and the function that gives for weights (N, H', W', K) the gradient
        (N, H, W, C) of the weighted sum of these scores."""
        linear, precision, constant = self._natural
        patches, factors = self._gmm.patches(Patches(x, self._window)), self._factors
        scores = patches.contract(linear, precision, constant)
        if factors is None:
            return scores, lambda w: patches.pull(w, linear, precision)

        def pull(w: Tensor) -> Tensor:
            return patches.pull(w, linear, precision) + patches.fold(
                pull_factors(patches.points(w), patches.values, factors)
            )

        return patches.on_map(add_factors(patches.points(scores), patches.values, factors)), pull


@dataclass(frozen=True)
class Ascent:
    """L*, the log-likelihood of a GMM layer, as a function of the output T of a Folding layer under it."""

    below: tuple[Stage, ...]  # from T up to the target's input
    mixture: Mixture
    target: str
    curvature: float

    def log_likelihood(self, x: Tensor) -> Tensor:  # (N, H, W, C) -> (N,)
        """L* of each sample: mean over the target's positions (nats)."""
        for stage in self.below:
            x = stage(x)[0]
        return self.mixture.scores(x)[0].logsumexp(-1).mean((-2, -1))

    def gradient(self, x: Tensor) -> Tensor:  # (N, H, W, C) -> (N, H, W, C)
        """dL*/dT of each sample, in closed form."""
        pulls = []
        for stage in self.below:
            x, pull = stage(x)
            pulls.append(pull)
        scores, pull = self.mixture.scores(x)
        gradient = pull(scores.softmax(-1).div_(scores.shape[1] * scores.shape[2]))
        for pull in reversed(pulls):
            gradient = pull(gradient)
        return gradient


@torch.no_grad()
def ascent_of(model: DCGMM, folding: str, target: str | None = None) -> Ascent:
    """What is ascended at a Folding layer.

    Args:
        model: the model, one (no batch_shape).
        folding: the Folding layer's name.
        target: the GMM layer's name; None is the next one above.

    Raises:
        InputError: there is no such Folding layer, or no such GMM layer above it.
    """
    names, layers = list(model.named_layers), list(model.layers)
    if folding not in model.foldings:
        known = ", ".join(model.foldings) or "it has none"
        raise OptionError("layers", f"Folding layers of the model ({known})", folding, SharpeningOptions)
    first = names.index(folding)
    above = [name for name in model.gmms if names.index(name) > first]
    if not above:
        raise InputError(f"there is no GMM layer above {folding}, whose log-likelihood could be ascended")
    if target is not None and target not in above:
        rule = f"a GMM layer above {folding} ({', '.join(above)})"
        raise OptionError("target", rule, target, SharpeningOptions)
    chosen = target or above[0]
    stages: list[Stage] = []
    mixture = None
    waiting: Folding | None = None  # a Folding layer whose successor is not known yet
    for layer in layers[first : names.index(chosen) + 1]:
        if mixture is not None:
            stages.append(_responsibilities(mixture))
            mixture = None
        if isinstance(layer, GMM):
            mixture, waiting = Mixture(layer, waiting), None
            continue
        if waiting is not None:
            stages.append(_patches(waiting))
            waiting = None
        if isinstance(layer, Folding):
            waiting = layer
        else:
            assert isinstance(layer, Pooling)
            stages.append(_pooled(layer))
    assert mixture is not None  # the target is a GMM layer
    return Ascent(tuple(stages), mixture, chosen, largest_curvature(model, folding))


@torch.no_grad()
def largest_curvature(model: DCGMM, folding: str) -> float:
    """Bound on the curvature of L* at a Folding layer, L* taken of the next GMM layer above.

    Since -d^2 s_k / dx_f^2 = d_kf^2 and mixing only lowers it, the curvature along T_i is at most
    1/P sum_p max_k d_kf(p,i)^2, summed over the windows p of P that cover i; steps under 2 / curvature never lower L*.
    """
    names, layers = list(model.named_layers), list(model.layers)
    first = names.index(folding)
    last = next(index for index in range(first, len(layers)) if isinstance(layers[index], GMM))
    gmm = layers[last]
    assert isinstance(gmm, GMM)
    bound = gmm.precision_sqrt.square().amax(-2).expand(gmm.input_shape)[None]
    for layer in reversed(layers[first:last]):
        if isinstance(layer, Folding):
            bound = fold_sum(bound, layer.window, layer.input_shape)
        else:
            assert isinstance(layer, Pooling)
            # Any position of a window may be its largest and so carry the whole of it, in every window it is in.
            window = layer.window
            overlap = math.prod(math.ceil(k / s) for k, s in zip(window.kernel, window.stride, strict=True))
            bound = layer.downward(bound) if overlap == 1 else bound.amax().expand(1, *layer.input_shape) * overlap
    return float(bound.max()) / gmm.input_shape.positions


def _responsibilities(mixture: Mixture) -> Stage:
    def stage(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        scores, pull_scores = mixture.scores(x)
        posterior = scores.softmax(-1)

        def pull(gradient: Tensor) -> Tensor:
            inner = (posterior * gradient).sum(-1, keepdim=True)
            return pull_scores(posterior * (gradient - inner))

        return posterior, pull

    return stage


def _patches(folding: Folding) -> Stage:
    return lambda x: (
        unfold(x, folding.window),
        lambda gradient: fold_sum(gradient, folding.window, folding.input_shape),
    )


def _pooled(pooling: Pooling) -> Stage:
    def stage(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        maps = x.movedim(-1, 1)
        window = pooling.window
        pooled, index = F.max_pool2d(maps, window.kernel, window.stride, ceil_mode=True, return_indices=True)

        def pull(gradient: Tensor) -> Tensor:
            given = gradient.movedim(-1, 1)
            if any(k > s for k, s in zip(window.kernel, window.stride, strict=True)):
                return _pulled_back(given, index, window, maps.shape).movedim(1, -1)
            flat = torch.zeros_like(maps, memory_format=torch.contiguous_format).flatten(2)
            flat.scatter_add_(2, index.flatten(2), given.flatten(2))  # to each place once
            return flat.view(maps.shape).movedim(1, -1)

        return pooled.movedim(1, -1), pull

    return stage


def _pulled_back(
    gradient: Tensor,  # (N, C, H', W')
    index: Tensor,  # (N, C, H', W'), place in a map (H, W) of the largest value of each window
    window: Window,
    shape: Sequence[int],  # N, C, H, W
) -> Tensor:  # (N, C, H, W)
    """The gradient of each window, added at the place of its largest value, in the order of the windows.

    Windows overlap: `scatter_add` on a GPU would add what falls on one place in any order.
    """
    (height, width), (rows, columns), (sh, sw) = shape[-2:], gradient.shape[-2:], window.stride
    kh, kw = window.kernel
    # Windows at an image's edge reach over it.
    padded = gradient.new_zeros(*shape[:2], max(height, (rows - 1) * sh + kh), max(width, (columns - 1) * sw + kw))
    top = torch.arange(rows, device=gradient.device).unsqueeze(-1) * sh
    left = torch.arange(columns, device=gradient.device) * sw
    for a in reversed(range(kh)):
        for b in reversed(range(kw)):
            places = padded[..., a : a + (rows - 1) * sh + 1 : sh, b : b + (columns - 1) * sw + 1 : sw]
            places += torch.where(index == (top + a) * width + left + b, gradient, 0.0)
    return padded[..., :height, :width]
