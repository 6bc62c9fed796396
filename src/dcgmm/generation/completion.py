"""Completions of images of which only a part was seen.

Upward, what was seen gives every GMM layer its responsibilities (`model.observed`). Downward, the top layer's component
follows these; at each position of a lower layer, with what comes down as control signal t and log-likelihoods l_k of
what was seen there, component k has the weight max(t_k, 0) exp l_k. In the lowest layer what was not seen of a patch is
drawn, or taken in the mean, given what was: exactly for its Gaussian. Overlapping patches are averaged, and seen pixels
are put back. Draws may be sharpened on the way, as samples are; on the image only missing pixels move then.

In the mean the top layer's components count by a power of their likelihood, exp(l_k / temperature): that of a whole
image is too sure of one, and a mean over several is nearer to the image.

For a model of one GMM layer over the whole image this is the conditional distribution itself (its mean at temperature
1); with more layers or windows that overlap it is an approximation.

Shapes: N images, H W positions of a GMM layer, K components, D features of a patch, S strongest entries.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation.options import CompletionOptions, SharpeningOptions, Steps
from dcgmm.generation.sampling import choose_entry
from dcgmm.generation.sharpening import Report, sharpen_output, sharpened_layers
from dcgmm.images import Images, to_float
from dcgmm.model import conditionals
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.folding import Folding
from dcgmm.model.gmm import GMM
from dcgmm.model.observed import score_shares, seen_part
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.options import checked_seed, made
from dcgmm.runtime import require_memory


@dataclass(frozen=True)
class Completions:
    """Completed images; what was seen of each is as it was, bit for bit.

    Attributes:
        mean: (N, H, W, C), conditional mean.
        draws: (count, N, H, W, C).

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("1L"))
        >>> images = dcgmm.datasets.load("mnist_sample", limit=5).test.images / 255
        >>> seen = dcgmm.generation.observed_part("right", 28, 28, 5)
        >>> completed = dcgmm.inpaint(model, images, seen, count=2)
        >>> bool((completed.mean[seen] == images[seen]).all()), completed.draws.shape
        (True, torch.Size([2, 5, 28, 28, 1]))
    """

    mean: Tensor
    draws: Tensor


@torch.no_grad()
def inpaint(
    model: DCGMM,
    images: Images,
    observed: Images,
    *,
    seed: int = 0,
    options: CompletionOptions | None = None,
    sharpening: SharpeningOptions | None = None,
    report: Report | None = None,
    **fields: Any,
) -> Completions:
    """Complete images of which only a part was seen.

    Args:
        model: the model, one (no batch_shape), whose last layer is a GMM layer.
        images: (N, H, W, C) as `as_images` takes them; what was not seen may be anything, NaN too.
        observed: (N, H, W) or (H, W), truth values: which pixels were seen.
        seed: of all noise.
        options: how they are completed.
        sharpening: how the Folding layers' outputs are sharpened on the way of a draw; None leaves them.
        report: called after every step of sharpening with the Folding layer's name and the steps done there.
        fields: of `CompletionOptions`, instead of those in `options`: `count=8, std_scale=0.3`.

    Raises:
        InputError: an option is unknown or out of its range, the images or the mask do not fit the model, all was seen,
            or there is no memory.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> left = torch.arange(28).expand(28, 28) < 14
        >>> dcgmm.inpaint(model, dcgmm.datasets.load("mnist_sample", limit=5).test.images, left, count=3).draws.shape
        torch.Size([3, 5, 28, 28, 1])
    """
    options = made(CompletionOptions, vars(options or CompletionOptions()) | fields)
    if model.batch_shape:
        raise InputError(f"completing takes one model, this one holds {list(model.batch_shape)} side by side")
    if not isinstance(model.layers[-1], GMM):
        raise InputError(f"completing takes a model whose last layer is a GMM layer, not {[*model.named_layers][-1]}")
    pixels, seen = seen_part(images, observed, model.input_shape)
    if not len(pixels):
        raise OptionError("images", "at least one image", "none")
    if bool(seen.all()):
        raise OptionError("observed", "a mask that leaves something out", "all seen")
    given = to_float(pixels.to(model.device), model.dtype)
    size = len(given) * model.image_bytes + 3 * (1 + options.count) * given.nbytes
    require_memory(size, f"{options.count} completions of {len(given)} images", model.device)
    evidence = _Evidence(model, model.seen_values(given), seen.to(model.device), options.temperature)
    generator = torch.Generator(model.device).manual_seed(checked_seed(seed))
    noise = _Noise(generator, options)
    refine = None if sharpening is None else _Sharpener(model, sharpening.steps(model.architecture.sharpening), report)
    completed = [evidence.down(None), *(evidence.down(noise, refine) for _ in range(options.count))]
    whole_images = [torch.where(evidence.seen, given, model.pixel_values(each)) for each in completed]
    draws = torch.stack(whole_images[1:]) if options.count else given.new_empty(0, *given.shape)
    return Completions(whole_images[0], draws)


@dataclass(frozen=True)
class _Noise:
    generator: torch.Generator
    options: CompletionOptions

    def normal(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=self.generator, dtype=like.dtype, device=self.generator.device)
        return drawn.to(like.device)

    def choose(self, weights: Tensor) -> Tensor:  # (N, H, W, K) -> (N, H, W)
        device, most = self.generator.device, weights.shape[-1]
        uniform = torch.rand(weights.shape[:-1], generator=self.generator, dtype=torch.float64, device=device)
        return choose_entry(weights, uniform.to(weights.device), min(self.options.top_s or most, most))


class _Sharpener:
    """Sharpens what Folding layers hand down, on the image only what was not seen."""

    def __init__(self, model: DCGMM, steps: Steps, report: Report | None) -> None:
        self._model, self._steps, self._report = model, steps, report
        self._chosen = sharpened_layers(model, steps)

    def __call__(self, name: str, signal: Tensor, evidence: "_Evidence") -> Tensor:  # (N, H, W, C)
        if name not in self._chosen:
            return signal
        held = None
        if name == next(iter(self._model.named_layers)):  # its output is the image
            held, signal = evidence.seen, torch.where(evidence.seen, evidence.x, signal)
        return sharpen_output(self._model, name, signal, self._steps, self._report, held).signal


class _Evidence:
    """What was seen, as every layer sees it, and the way down from there."""

    def __init__(self, model: DCGMM, x: Tensor, seen: Tensor, temperature: float) -> None:  # (N, H, W, C) both
        self.model, self.x, self.seen, self._temperature = model, x, seen, temperature
        self._scored = score_shares(model.named_layers, x, seen.to(x))
        self._below = dict(zip(list(model.named_layers)[1:], model.named_layers.values(), strict=False))

    def down(self, noise: _Noise | None, refine: _Sharpener | None = None) -> Tensor:  # (N, H, W, C)
        """From the top layer to the image: a draw, or means where there is no noise."""
        signal: Tensor | None = None
        lowest = next(iter(self._scored))
        for name, layer in reversed(self.model.named_layers.items()):
            if not isinstance(layer, GMM):
                assert signal is not None  # the last layer is a GMM layer
                signal = layer.downward(signal)
                signal = signal if refine is None else refine(name, signal, self)
                continue
            weights = self._weights(self._scored[name], signal, 1.0 if noise else self._temperature)
            signal = self._lowest(name, layer, weights, noise) if name == lowest else _values(layer, weights, noise)
        assert signal is not None
        return signal

    def _weights(self, scored: Scored, signal: Tensor | None, temperature: float) -> Tensor:  # (N, H, W, K)
        """Weights of the components at each position: the top layer's, or control signal times likelihood."""
        likelihood = scored.component_scores - scored.log_weights
        if signal is None:
            return (likelihood / temperature + scored.log_weights).softmax(-1)
        return (likelihood + signal.clamp(min=torch.finfo(signal.dtype).tiny).log()).softmax(-1)

    def _lowest(self, name: str, gmm: GMM, weights: Tensor, noise: _Noise | None) -> Tensor:  # (N, H, W, D)
        """Patches, of which what was not seen is drawn, or taken in the mean, given what was."""
        below = self._below.get(name)
        x, seen = self.x, self.seen
        if isinstance(below, Folding):
            x, seen = below(x), below(seen.to(x)) > 0
        if noise is not None:
            return _given(gmm, x, seen, noise.choose(weights), noise)
        if not (isinstance(gmm, FactorGMM) and gmm.has_factors):
            return gmm.mean(weights)  # what was not seen does not depend on what was, given the component
        total = torch.zeros_like(x)
        for k in range(gmm.components):
            share = weights[..., k].unsqueeze(-1)
            total += share * _given(gmm, x, seen, torch.full(weights.shape[:-1], k, device=x.device), None)
        return total


def _values(gmm: GMM, weights: Tensor, noise: _Noise | None) -> Tensor:  # (N, H, W, K) -> (N, H, W, D)
    """What an upper layer hands down."""
    if noise is None:
        return gmm.mean(weights)
    chosen = noise.choose(weights)
    pixel = noise.normal(weights.new_empty(*chosen.shape, gmm.input_shape.channels))
    if isinstance(gmm, FactorGMM):
        factor = noise.normal(weights.new_empty(*chosen.shape, gmm.factors.shape[-1]))
        return gmm.downward(chosen, pixel, noise.options.std_scale, factor, noise.options.factor_scale)
    return gmm.downward(chosen, pixel, noise.options.std_scale)


def _given(gmm: GMM, x: Tensor, seen: Tensor, chosen: Tensor, noise: _Noise | None) -> Tensor:  # (N, H, W, D)
    """Patches of the chosen components, given what was seen of each: a draw, or the mean where there is no noise."""
    chosen = gmm.flat_index(chosen)
    loc, precision_sqrt = gmm.flat(gmm.loc)[chosen], gmm.flat(gmm.precision_sqrt)[chosen]
    if not (isinstance(gmm, FactorGMM) and gmm.has_factors):
        if noise is None:
            return torch.where(seen, x, loc)
        drawn = torch.addcdiv(loc, noise.normal(loc), precision_sqrt, value=noise.options.std_scale)
        return torch.where(seen, x, drawn)
    parts, factors = [], gmm.flat(gmm.factors)
    factor = None if noise is None else noise.normal(loc.new_empty(*chosen.shape, factors.shape[-1]))
    pixel = None if noise is None else noise.normal(loc)
    size = max(1, 2**24 // (factors[0].numel() * x[0, ..., 0].numel()))
    for rows in torch.arange(len(x), device=x.device).split(size):  # a patch's own factors take room
        own = (x[rows], seen[rows], loc[rows], precision_sqrt[rows], factors[chosen[rows]])
        if noise is None or pixel is None or factor is None:
            parts.append(conditionals.conditional_mean(*own))
        else:
            scales = noise.options.std_scale, noise.options.factor_scale
            parts.append(conditionals.conditional_draw(*own, pixel[rows], factor[rows], *scales))
    return torch.cat(parts)
