"""Sampling: from a GMM layer down to the image (sections 3.1 and 3.2.3).

Legend: N samples, H W positions, C channels, K components, S strongest entries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM, Folding
from dcgmm_cli.model.dcgmm import Layer

# What is done to a Folding layer's downward output before it is handed on: sharpening, or nothing.
Refine = Callable[[str, Tensor], Tensor]

CHOICES = "weights, uniform, cycle, or the number of one component"


@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn.

    Args:
        top_s: S; a layer that is given a control signal draws among its S strongest entries. 1 is greedy.
        std_scale: factor on the standard deviations, one for all GMM layers or one a layer from below; 1 is the
            model.
        temperature: the control signal t is taken to the power 1 / temperature; below 1 it grows more decided.
        start: name of the GMM layer that is drawn from first; None is the model's last layer.
        components: of the start layer: "weights" draws from the mixture weights, "uniform" evenly, "cycle" gives
            sample n the component n mod K, a number gives every sample that one.

    Raises:
        UserError: a value is out of its range.
    """

    top_s: int = 1
    std_scale: float | tuple[float, ...] = 1.0
    temperature: float = 1.0
    start: str | None = None
    components: str = "weights"

    def __post_init__(self) -> None:
        if self.top_s < 1:
            raise UserError(f"sampling.top_s must be at least 1, not {self.top_s}")
        for scale in self.std_scale if isinstance(self.std_scale, tuple) else (self.std_scale,):
            if not 0 <= scale < float("inf"):
                raise UserError(f"sampling.std_scale must be a number of at least 0, not {scale}")
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"sampling.temperature must be above 0, not {self.temperature}")
        if self.components not in ("weights", "uniform", "cycle") and not self.components.isdecimal():
            raise UserError(f"sampling.components={self.components} is unknown; choose {CHOICES}")


@dataclass(frozen=True)
class Samples:
    """Drawn images, and how each came about."""

    images: Tensor  # (N, H, W, C), not clamped: a Gaussian knows no range of pixels
    components: dict[str, Tensor]  # (N, H, W) per GMM layer, the component drawn at each position
    control: dict[str, Tensor]  # (N, H, W, K) per GMM layer under the start, what the components were drawn from

    def to(self, device: torch.device | str) -> "Samples":
        """The same on another device."""
        return Samples(
            self.images.to(device),
            {name: value.to(device) for name, value in self.components.items()},
            {name: value.to(device) for name, value in self.control.items()},
        )


def layer_names(model: DCGMM) -> list[str]:
    """A name for every layer from below: folding1, gmm1, pooling1, folding2, gmm2, ..."""
    counts: dict[str, int] = {}
    names = []
    for layer in model.layers:
        kind = type(layer).__name__.lower()
        counts[kind] = counts.get(kind, 0) + 1
        names.append(f"{kind}{counts[kind]}")
    return names


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
    steps = weight.cumsum(-1)
    drawn = (steps <= uniform[..., None] * steps[..., -1:]).sum(-1, keepdim=True)
    return index.gather(-1, drawn.clamp(max=top_s - 1)).squeeze(-1)


@torch.no_grad()
def sample(
    model: DCGMM,
    count: int,
    options: SamplingOptions,
    generator: torch.Generator,
    refine: Refine | None = None,
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

    Raises:
        UserError: `count`, `top_s`, the start layer or the component do not fit the model.
    """
    if count < 1:
        raise UserError(f"sampling.count must be at least 1, not {count}")
    stack, scales = _stack_from(model, options), _std_scales(model, options)
    signal: Tensor | None = None
    components: dict[str, Tensor] = {}
    control: dict[str, Tensor] = {}
    for name, layer in stack:
        if isinstance(layer, GMM):
            uniform, noise = _noise(layer, count, generator, model)
            if signal is None:
                drawn = _start_components(layer, options.components, uniform)
            else:
                control[name] = signal
                drawn = choose_entry(signal, uniform, options.top_s, options.temperature)
            components[name] = drawn
            signal = layer.downward(drawn, noise, scales[name])
        else:
            assert signal is not None  # the stack starts with a GMM layer
            signal = layer.downward(signal)
            if refine is not None and isinstance(layer, Folding):
                signal = refine(name, signal)
    assert signal is not None
    return Samples(signal, components, control)


def _stack_from(model: DCGMM, options: SamplingOptions) -> list[tuple[str, Layer]]:
    """Layers with their names, from the start layer down.

    Raises:
        UserError: there is no such start, or it or the layers under it cannot be drawn from as asked.
    """
    if model.batch_shape:
        raise UserError(f"sampling takes one model, this one holds {list(model.batch_shape)} side by side")
    named: list[tuple[str, Layer]] = list(zip(layer_names(model), model.layers, strict=True))  # type: ignore[arg-type]
    gmms = [name for name, layer in named if isinstance(layer, GMM)]
    start = options.start or named[-1][0]
    if start not in gmms:
        if options.start is None:
            kind = type(named[-1][1]).__name__
            raise UserError(
                f"sampling starts in a GMM layer, and the model's last layer is a {kind} layer: "
                f"give sampling.start, {' or '.join(gmms)}"
            )
        raise UserError(f"sampling.start={start} names no GMM layer of the model; it has {', '.join(gmms)}")
    names = [name for name, _ in named]
    stack = named[names.index(start) :: -1]
    drawn = [(name, layer) for name, layer in stack if isinstance(layer, GMM)]
    for name, layer in drawn[1:] or drawn:
        if options.top_s > layer.components:
            raise UserError(
                f"sampling.top_s={options.top_s} is more than the {layer.components} components of {name}; "
                f"give 1 to {layer.components}"
            )
    top = drawn[0][1]
    if options.components.isdecimal() and int(options.components) >= top.components:
        raise UserError(
            f"sampling.components={options.components} is not in {start}, which has 0 to {top.components - 1}"
        )
    return stack


def _std_scales(model: DCGMM, options: SamplingOptions) -> dict[str, float]:
    """Each GMM layer's std_scale.

    Raises:
        UserError: they are not as many as the GMM layers.
    """
    names, given = list(model.gmms), options.std_scale
    scales = given if isinstance(given, tuple) else (given,) * len(names)
    if len(scales) != len(names):
        raise UserError(
            f"sampling.std_scale={list(scales)} has {len(scales)} values for {len(names)} GMM layers; give 1 or all"
        )
    return dict(zip(names, scales, strict=True))


def _noise(layer: GMM, count: int, generator: torch.Generator, model: DCGMM) -> tuple[Tensor, Tensor]:
    """Uniform numbers (N, H, W), float64, and standard normal ones (N, H, W, D), on the model's device."""
    height, width, features = layer.input_shape
    where = generator.device
    uniform = torch.rand(count, height, width, generator=generator, dtype=torch.float64, device=where)
    normal = torch.randn(count, height, width, features, generator=generator, dtype=model.dtype, device=where)
    return uniform.to(model.device), normal.to(model.device)


def _start_components(layer: GMM, choice: str, uniform: Tensor) -> Tensor:  # (N, H, W) -> (N, H, W)
    if choice == "cycle":
        index = torch.arange(len(uniform), device=uniform.device) % layer.components
        return index[:, None, None].expand(uniform.shape)
    if choice.isdecimal():
        return torch.full_like(uniform, int(choice), dtype=torch.long)
    weights = torch.ones_like(layer.logits) if choice == "uniform" else layer.log_weights.exp()
    return choose_entry(weights.expand(*uniform.shape, -1), uniform, layer.components)
