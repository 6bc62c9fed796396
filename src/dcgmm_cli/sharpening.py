"""Sharpening: gradient ascent of a GMM layer's log-likelihood on what a Folding layer generated (section 3.2.3).

Legend: N samples, H W positions, C channels, K components, D patch features, T a Folding layer's downward output.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM, Folding, Pooling
from dcgmm_cli.model.gaussian import natural_parameters
from dcgmm_cli.model.patches import SINGLE, Patches, fold_sum, unfold
from dcgmm_cli.sampling import Refine, layer_names

# A stage's output, and the function that takes a gradient of the output back to one of the input.
Stage = Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]
Report = Callable[[str, int], None]

RECORDS = 50  # points of a curve, about


@dataclass(frozen=True)
class SharpeningOptions:
    """How samples are sharpened.

    Args:
        iterations: G, steps of gradient ascent.
        step_size: eps_s; None takes `rate` over the largest curvature that L* can have, see `largest_curvature`.
        rate: in (0, 2): a coordinate that all windows cover goes this share of the way to its optimum in a step.
            Up to 2, no step lowers L*.
        target: name of the GMM layer whose log-likelihood is ascended; None is the next one above the Folding layer.
        penalty: lambda; the ascended quantity is L*(T) - lambda / 2 ||T - T_0||^2, T_0 being the start.
        layers: names of the Folding layers that are sharpened; None is all.

    Raises:
        UserError: a value is out of its range.
    """

    iterations: int
    step_size: float | None = None
    rate: float = 1.0
    target: str | None = None
    penalty: float = 0.0
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise UserError(f"sharpening.iterations must be at least 0, not {self.iterations}")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise UserError(f"sharpening.step_size must be above 0, not {self.step_size}")
        if not 0 < self.rate < 2:
            raise UserError(f"sharpening.rate must lie between 0 and 2, not {self.rate}")
        if not 0 <= self.penalty < math.inf:
            raise UserError(f"sharpening.penalty must be at least 0, not {self.penalty}")


@dataclass(frozen=True)
class Sharpened:
    """A sharpened tensor, and how its log-likelihood rose."""

    signal: Tensor  # (N, H, W, C)
    target: str  # the GMM layer that was ascended
    step_size: float
    iterations: list[int]  # when the log-likelihood was taken; the first is 0, the last is G
    log_likelihood: list[float]  # L* then, mean over positions and samples (nats)


class Mixture:
    """A GMM layer as a function of what lies under the Folding layer before it, if there is one."""

    def __init__(self, gmm: GMM, folding: Folding | None) -> None:
        self._natural = natural_parameters(gmm.log_weights.detach(), gmm.loc.detach(), gmm.precision_sqrt.detach())
        self._window = folding.window if folding else SINGLE

    def scores(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:  # (N, H, W, C) -> (N, H', W', K)
        """log pi_k + log N_k at each position, and the function that gives for weights (N, H', W', K) the gradient
        (N, H, W, C) of the weighted sum of these scores."""
        linear, precision, constant = self._natural
        patches = Patches(x, self._window)
        return patches.contract(linear, precision, constant), lambda w: patches.pull(w, linear, precision)


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
        UserError: there is no such Folding layer, or no such GMM layer above it.
    """
    names, layers = layer_names(model), list(model.layers)
    foldings = [name for name in names if name.startswith("folding")]
    if folding not in foldings:
        raise UserError(
            f"sharpening: {folding} is no Folding layer of the model; it has {', '.join(foldings) or 'none'}"
        )
    first = names.index(folding)
    above = [name for name in names[first:] if name.startswith("gmm")]
    if not above:
        raise UserError(f"sharpening: there is no GMM layer above {folding}")
    if target is not None and target not in above:
        raise UserError(f"sharpening.target={target} is not above {folding}; choose {', '.join(above)}")
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
    names, layers = layer_names(model), list(model.layers)
    first = names.index(folding)
    last = next(index for index in range(first, len(layers)) if isinstance(layers[index], GMM))
    gmm = layers[last]
    assert isinstance(gmm, GMM)
    bound = gmm.precision_sqrt.square().amax(0).expand(gmm.input_shape)[None]
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
            flat = torch.zeros_like(maps, memory_format=torch.contiguous_format).flatten(2)
            flat.scatter_add_(2, index.flatten(2), gradient.movedim(-1, 1).flatten(2))
            return flat.view(maps.shape).movedim(1, -1)

        return pooled.movedim(1, -1), pull

    return stage


@torch.no_grad()
def sharpen(
    model: DCGMM,
    folding: str,
    start: Tensor,  # (N, H, W, C)
    options: SharpeningOptions,
    report: Report | None = None,
) -> Sharpened:
    """G steps T <- T + eps_s (dL*/dT - lambda (T - T_0)) on a Folding layer's downward output.

    L* is averaged over positions for each sample, so that the result does not depend on the batch size.

    Args:
        model: the model.
        folding: the Folding layer's name.
        start: T_0.
        options: how; `options.layers` is for the caller to heed.
        report: called after every step with the Folding layer's name and the steps done.

    Raises:
        UserError: the layers cannot be, or the steps diverge.
    """
    ascent = ascent_of(model, folding, options.target)
    step = options.step_size or options.rate / (ascent.curvature + options.penalty)
    every = max(1, options.iterations // RECORDS)
    signal = start.clone()
    when, values = [0], [ascent.log_likelihood(signal).mean()]
    for done in range(1, options.iterations + 1):
        gradient = ascent.gradient(signal)
        if options.penalty:
            gradient = gradient.add(signal - start, alpha=-options.penalty)
        signal.add_(gradient, alpha=step)
        if done % every == 0 or done == options.iterations:
            when.append(done)
            values.append(ascent.log_likelihood(signal).mean())
        if report:
            report(folding, done)
    curve = torch.stack(values).tolist()
    if not all(map(math.isfinite, curve)):
        limit = 2 / (ascent.curvature + options.penalty)
        raise UserError(f"sharpening diverged at {folding}: step_size={step:g} is too large, below {limit:.3g} is safe")
    return Sharpened(signal, ascent.target, step, when, curve)


def sharpened_layers(model: DCGMM, options: SharpeningOptions) -> list[str]:
    """Names of the Folding layers that are sharpened, from below.

    Raises:
        UserError: `layers` names one that the model has not, or `target` is above none of them.
    """
    every = [name for name in layer_names(model) if name.startswith("folding")]
    for name in options.layers or ():
        if name not in every:
            raise UserError(f"sharpening.layers: the model has no {name}; its Folding layers are {', '.join(every)}")
    chosen = [name for name in every if options.layers is None or name in options.layers]
    for name in chosen:
        ascent_of(model, name, options.target)
    return chosen


def sharpener(
    model: DCGMM,
    options: SharpeningOptions,
    outcomes: dict[str, list[Sharpened]],
    report: Report | None = None,
) -> Refine:
    """A function for `sample(refine=...)` that sharpens the configured Folding layers, and notes each outcome.

    Raises:
        UserError: the options do not fit the model.
    """
    chosen = sharpened_layers(model, options)

    def refine(name: str, signal: Tensor) -> Tensor:
        if name not in chosen:
            return signal
        outcome = sharpen(model, name, signal, options, report)
        outcomes.setdefault(name, []).append(outcome)
        return outcome.signal

    return refine
