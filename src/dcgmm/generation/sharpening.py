"""Sharpening: gradient ascent of a GMM layer's log-likelihood on what a Folding layer generated (section 3.2.3).

Legend: N samples, H W positions, C channels, T a Folding layer's downward output.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation.ascent import ascent_of
from dcgmm.generation.options import SharpeningOptions, Steps
from dcgmm.graphs import Graphs
from dcgmm.images import Images, as_images, to_float
from dcgmm.model.stack import DCGMM
from dcgmm.options import made

# What is done to a Folding layer's downward output before it is handed on.
Refine = Callable[[str, Tensor], Tensor]
Report = Callable[[str, int], None]

FIRST = "folding1"  # the Folding layer on the image
RECORDS = 50  # points of a curve, about


@dataclass(frozen=True)
class Sharpened:
    """A sharpened tensor, and how its log-likelihood rose.

    Attributes:
        signal: (N, H, W, C).
        target: the GMM layer that was ascended.
        step_size: eps_s.
        iterations: when the log-likelihood was taken; the first is 0, the last is G.
        log_likelihood: L* then, mean over positions and samples (nats).

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train.images
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> _ = dcgmm.fit(model, train, steps=20)
        >>> sharp = dcgmm.sharpen(model, train[:5], iterations=3)
        >>> sharp.target, sharp.iterations, sharp.log_likelihood[0] < sharp.log_likelihood[-1]
        ('gmm1', [0, 1, 2, 3], True)
    """

    signal: Tensor
    target: str
    step_size: float
    iterations: list[int]
    log_likelihood: list[float]


def sharpen(
    model: DCGMM,
    images: Images,
    *,
    options: SharpeningOptions | None = None,
    report: Report | None = None,
    **fields: Any,
) -> Sharpened:
    """Sharpen given images at the Folding layer on the image itself, the only one whose output they are.

    Args:
        model: the model, one (no batch_shape).
        images: (N, H, W, C) as `as_images` takes them.
        options: how; the architecture's iterations and rate where they leave these open.
        report: called after every step with the Folding layer's name and the steps done.
        fields: of `SharpeningOptions`, instead of those in `options`: `iterations=10, step_size=0.05`.

    Returns:
        The sharpened images in `signal`, and how their log-likelihood rose.

    Raises:
        InputError: the first layer is no Folding layer, an option is unknown, out of its range or leaves that layer
            out, the images do not fit the model, or the steps diverge.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> images = dcgmm.datasets.load("mnist_sample", limit=5).test.images
        >>> dcgmm.sharpen(model, images, iterations=2).signal.shape
        torch.Size([5, 28, 28, 1])

    Source: section 3.2.3.
    """
    options = made(SharpeningOptions, vars(options or SharpeningOptions()) | fields)
    if (first := next(iter(model.named_layers))) != FIRST:
        raise InputError(f"given images are sharpened at {FIRST}, and the model's first layer is {first}")
    if options.layers is not None and FIRST not in options.layers:
        raise OptionError("layers", f"{FIRST}, or with it: given images are its output", options.layers, type(options))
    sharpened_layers(model, options.steps(model.architecture.sharpening))  # all that are named are there
    steps = replace(options.steps(model.architecture.sharpening), layers=(FIRST,))
    checked = as_images(images, model.input_shape)
    if not len(checked):
        raise OptionError("images", "at least one image", "none")
    start = to_float(checked.to(model.device), model.dtype)
    outcome = sharpen_output(model, FIRST, model.seen_values(start), steps, report)
    return replace(outcome, signal=model.pixel_values(outcome.signal))


@torch.no_grad()
def sharpen_output(
    model: DCGMM,
    folding: str,
    start: Tensor,  # (N, H, W, C)
    steps: Steps,
    report: Report | None = None,
    held: Tensor | None = None,  # (N, H, W, C) bool
) -> Sharpened:
    """G steps T <- T + eps_s (dL*/dT - lambda (T - T_0)) on a Folding layer's downward output.

    L* is averaged over positions for each sample, so that the result does not depend on the batch size.

    Args:
        model: the model.
        folding: the Folding layer's name.
        start: T_0.
        steps: which; `steps.layers` is for the caller to heed.
        report: called after every step with the Folding layer's name and the steps done.
        held: what stays as it is, bit for bit; None: nothing.

    Raises:
        InputError: the layers cannot be, or the steps diverge.
    """
    ascent = ascent_of(model, folding, steps.target)
    step = steps.step_size or steps.rate / (ascent.curvature + steps.penalty)
    every = max(1, steps.iterations // RECORDS)
    signal = start.clone()
    when, values = [0], [ascent.log_likelihood(signal).mean()]

    def climb() -> None:
        gradient = ascent.gradient(signal)
        if steps.penalty:
            gradient = gradient.add(signal - start, alpha=-steps.penalty)
        if held is not None:
            gradient = gradient.masked_fill(held, 0.0)
        signal.add_(gradient, alpha=step)

    graphs = Graphs(signal.device)
    for done in range(1, steps.iterations + 1):
        graphs.run(climb)
        if done % every == 0 or done == steps.iterations:
            when.append(done)
            values.append(ascent.log_likelihood(signal).mean())
        if report:
            report(folding, done)
    curve = torch.stack(values).tolist()
    if not all(map(math.isfinite, curve)):
        limit = 2 / (ascent.curvature + steps.penalty)
        raise InputError(
            f"sharpening diverged at {folding}: step_size={step:g} is too large, below {limit:.3g} is safe"
        )
    return Sharpened(signal, ascent.target, step, when, curve)


def sharpened_layers(model: DCGMM, steps: Steps) -> list[str]:
    """Names of the Folding layers that are sharpened, from below.

    Raises:
        InputError: `layers` names one that the model has not, or `target` is above none of them.
    """
    for name in steps.layers or ():
        if name not in model.foldings:
            known = ", ".join(model.foldings) or "it has none"
            raise OptionError("layers", f"Folding layers of the model ({known})", name, SharpeningOptions)
    chosen = [name for name in model.foldings if steps.layers is None or name in steps.layers]
    for name in chosen:
        ascent_of(model, name, steps.target)
    return chosen


def sharpener(
    model: DCGMM,
    steps: Steps,
    outcomes: dict[str, list[Sharpened]],
    report: Report | None = None,
) -> Refine:
    """A function for `sample(refine=...)` that sharpens the configured Folding layers, and notes each outcome.

    Raises:
        InputError: the options do not fit the model.
    """
    chosen = sharpened_layers(model, steps)

    def refine(name: str, signal: Tensor) -> Tensor:
        if name not in chosen:
            return signal
        outcome = sharpen_output(model, name, signal, steps, report)
        outcomes.setdefault(name, []).append(outcome)
        return outcome.signal

    return refine
