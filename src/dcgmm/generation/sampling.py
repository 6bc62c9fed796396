"""Sampling: from a GMM layer down to the image (sections 3.1 and 3.2.3).

Legend: N samples, H W positions, C channels, K components, S strongest entries.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation.cumulative import running_sums
from dcgmm.generation.options import SamplingOptions, SharpeningOptions
from dcgmm.generation.sharpening import Refine, Report, Sharpened, sharpener
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.folding import Folding
from dcgmm.model.gmm import GMM
from dcgmm.model.layers import Layer
from dcgmm.model.stack import DCGMM
from dcgmm.options import checked_seed, made, whole
from dcgmm.runtime import require_memory


@dataclass(frozen=True)
class Samples:
    """Drawn images, and how each came about.

    Attributes:
        images: (N, H, W, C), not clamped: a Gaussian knows no range of pixels.
        components: (N, H, W) per GMM layer, the component drawn at each position.
        control: (N, H, W, K) per GMM layer under the start, what the components were drawn from.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> samples = dcgmm.sample(model, 9, seed=1)
        >>> {name: drawn.shape for name, drawn in samples.components.items()}
        {'gmm2': torch.Size([9, 1, 1]), 'gmm1': torch.Size([9, 4, 4])}
    """

    images: Tensor
    components: dict[str, Tensor]
    control: dict[str, Tensor]

    def to(self, device: torch.device | str) -> "Samples":
        """The same on another device."""
        return Samples(
            self.images.to(device),
            {name: value.to(device) for name, value in self.components.items()},
            {name: value.to(device) for name, value in self.control.items()},
        )


def choose_entry(
    control: Tensor,  # (..., K), strengths; negatives count as 0
    uniform: Tensor,  # (...), in [0, 1)
    top_s: int,
    temperature: float = 1.0,
) -> Tensor:  # (...)
    """Draw k with probability proportional to max(t_k, 0)^(1 / temperature) among the `top_s` largest t_k.

    The draw inverts the cumulative distribution, so that equal `uniform` and like signals give like choices. Where
    no entry is positive, the strongest is taken.
    """
    # float64: in float32 a number just under 1 could round onto an entry of probability 0.
    values, index = control.double().topk(top_s, -1)
    weight = values.clamp(min=0)
    peak = weight[..., :1]
    weight = (weight / torch.where(peak > 0, peak, 1)).pow(1 / temperature)
    weight[..., 0] += peak[..., 0] == 0
    steps = running_sums(weight)
    drawn = (steps <= uniform[..., None] * steps[..., -1:]).sum(-1, keepdim=True)
    return index.gather(-1, drawn.clamp(max=top_s - 1)).squeeze(-1)


def sample(
    model: DCGMM,
    count: int,
    *,
    seed: int = 0,
    options: SamplingOptions | None = None,
    weights: Tensor | None = None,
    sharpening: SharpeningOptions | None = None,
    outcomes: dict[str, list[Sharpened]] | None = None,
    report: Report | None = None,
    **fields: Any,
) -> Samples:
    """Draw images, each call from the start of the seed's noise, so that calls differ by their options only.

    Args:
        model: the model, one (no batch_shape).
        count: N, the number of images.
        seed: of all noise; the same seed on the same device gives the same images.
        options: how they are drawn.
        weights: (N, H, W, K), what the start layer's components are drawn by instead of its mixture weights, as
            `GenerativeClassifier.component_weights` gives them for images of some classes.
        sharpening: how the Folding layers' outputs are sharpened on the way; None leaves them.
        outcomes: filled with what sharpening did at each Folding layer.
        report: called after every step of sharpening with the Folding layer's name and the steps done there.
        fields: of `SamplingOptions`, instead of those in `options`: `top_s=3, std_scale=0.3`.

    Raises:
        InputError: an option is unknown or out of its range, or does not fit the model.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> dcgmm.sample(model, 36, top_s=3, seed=1).images.shape
        torch.Size([36, 28, 28, 1])

    Source: sections 3.1 and 3.2.3.
    """
    options = made(SamplingOptions, vars(options or SamplingOptions()) | fields)
    generator = torch.Generator(model.device).manual_seed(checked_seed(seed))
    if sharpening is None:
        return draw(model, count, options, generator, weights=weights)
    steps = sharpening.steps(model.architecture.sharpening)
    refine = sharpener(model, steps, {} if outcomes is None else outcomes, report)
    return draw(model, count, options, generator, refine, weights)


@torch.no_grad()
def draw(
    model: DCGMM,
    count: int,
    options: SamplingOptions,
    generator: torch.Generator,
    refine: Refine | None = None,
    weights: Tensor | None = None,
) -> Samples:
    """Draw images: components and Gaussians from the start layer down, through Folding and Pooling (section 3.2.3).

    The generator gives every layer the same amount of noise whatever was drawn above it, so that two calls with
    equal seeds differ by their options only.

    Args:
        model: the model, one (no batch_shape).
        count: N, the number of images.
        options: how they are drawn.
        generator: of all noise, on any device; the same seed on the same device gives the same images.
        refine: called with each Folding layer's name and downward output (N, H, W, C); what it returns goes on.
        weights: as for `sample`.

    Raises:
        InputError: `count`, `top_s`, the start layer or the component do not fit the model, or there is no memory.
    """
    if not whole(least=1).holds(count):
        raise OptionError("count", whole(least=1).text, count)
    require_room(model, count)
    stack = _stack_from(model, options)
    pixel_scales, factor_scales = (_scales(model, options, field) for field in ("std_scale", "factor_scale"))
    signal: Tensor | None = None
    components: dict[str, Tensor] = {}
    control: dict[str, Tensor] = {}
    gmms = {name: layer for name, layer in stack if isinstance(layer, GMM)}
    noises = {name: _noise(layer, count, generator, model) for name, layer in gmms.items()}
    # After all others, which are the same without factors.
    factor_noises = {
        name: _factor_noise(layer, count, generator, model)
        for name, layer in gmms.items()
        if isinstance(layer, FactorGMM)
    }
    for name, layer in stack:
        if isinstance(layer, GMM):
            uniform, noise = noises.pop(name)
            if signal is None:
                drawn = _start_components(layer, options.components, uniform, weights)
            else:
                control[name] = signal
                drawn = choose_entry(signal, uniform, options.top_s, options.temperature)
            components[name] = drawn
            if isinstance(layer, FactorGMM):
                signal = layer.downward(drawn, noise, pixel_scales[name], factor_noises.pop(name), factor_scales[name])
            else:
                signal = layer.downward(drawn, noise, pixel_scales[name])
        else:
            assert signal is not None  # the stack starts with a GMM layer
            signal = layer.downward(signal)
            if refine is not None and isinstance(layer, Folding):
                signal = refine(name, signal)
    assert signal is not None
    return Samples(model.pixel_values(signal), components, control)


def require_room(model: DCGMM, count: int) -> None:
    """Refuse more images than there is memory to draw.

    Raises:
        InputError: there is not.
    """
    require_memory(2 * count * model.image_bytes, f"{count} images", model.device)


def _stack_from(model: DCGMM, options: SamplingOptions) -> list[tuple[str, Layer]]:
    """Layers with their names, from the start layer down.

    Raises:
        InputError: there is no such start, or it or the layers under it cannot be drawn from as asked.
    """
    if model.batch_shape:
        raise InputError(f"sampling takes one model, this one holds {list(model.batch_shape)} side by side")
    named = list(model.named_layers.items())
    start = options.start or named[-1][0]
    if start not in model.gmms:
        kind = f"null: the model's last layer is a {model.layers[-1].description.type} layer"
        raise _option("start", f"a GMM layer of the model ({', '.join(model.gmms)})", options.start or kind)
    stack = named[[name for name, _ in named].index(start) :: -1]
    drawn = [(name, layer) for name, layer in stack if isinstance(layer, GMM)]
    for name, layer in drawn[1:] or drawn:
        if options.top_s > layer.components:
            raise _option("top_s", f"at most {layer.components}, the components of {name}", options.top_s)
    top = drawn[0][1]
    if options.components.isdecimal() and int(options.components) >= top.components:
        raise _option("components", f"from 0 to {top.components - 1}, the components of {start}", options.components)
    return stack


def _scales(model: DCGMM, options: SamplingOptions, field: str) -> dict[str, float]:
    """Each GMM layer's std_scale or factor_scale.

    Raises:
        InputError: they are not as many as the GMM layers.
    """
    names, given = list(model.gmms), getattr(options, field)
    scales = given if isinstance(given, list | tuple) else [given] * len(names)
    if len(scales) != len(names):
        raise _option(field, f"one number, or one for each of the {len(names)} GMM layers", list(scales))
    return dict(zip(names, map(float, scales), strict=True))


def _option(field: str, rule: str, value: Any) -> OptionError:
    return OptionError(field, rule, value, SamplingOptions)


def _noise(layer: GMM, count: int, generator: torch.Generator, model: DCGMM) -> tuple[Tensor, Tensor]:
    """Uniform numbers (N, H, W), float64, and standard normal ones (N, H, W, D), on the model's device."""
    height, width, features = layer.input_shape
    where = generator.device
    uniform = torch.rand(count, height, width, generator=generator, dtype=torch.float64, device=where)
    normal = torch.randn(count, height, width, features, generator=generator, dtype=model.dtype, device=where)
    return uniform.to(model.device), normal.to(model.device)


def _factor_noise(layer: FactorGMM, count: int, generator: torch.Generator, model: DCGMM) -> Tensor:  # (N, H, W, L)
    """Standard normal numbers for the factors, on the model's device."""
    shape = (count, layer.input_shape.height, layer.input_shape.width, layer.factors.shape[-1])
    normal = torch.randn(shape, generator=generator, dtype=model.dtype, device=generator.device)
    return normal.to(model.device)


def _start_components(
    layer: GMM,
    choice: str,
    uniform: Tensor,  # (N, H, W)
    weights: Tensor | None,  # (N, H, W, K)
) -> Tensor:  # (N, H, W)
    if weights is not None:
        if choice != "weights":
            raise _option("components", "weights where other weights are given", choice)
        if weights.shape != (*uniform.shape, layer.components):
            expected, found = (*uniform.shape, layer.components), tuple(weights.shape)
            raise OptionError("weights", f"of shape {expected}, the start layer's", found)
        return choose_entry(weights.to(uniform), uniform, layer.components)
    if choice == "cycle":
        index = torch.arange(len(uniform), device=uniform.device) % layer.components
        return index[:, None, None].expand(uniform.shape)
    if choice.isdecimal():
        return torch.full_like(uniform, int(choice), dtype=torch.long)
    own = torch.ones_like(layer.logits) if choice == "uniform" else layer.log_weights.exp()
    return choose_entry(own.expand(*uniform.shape, -1), uniform, layer.components)
