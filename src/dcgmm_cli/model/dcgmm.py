"""The stack of Folding, Pooling and GMM layers (section 3), under them maybe a Power layer."""

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from dcgmm_cli.errors import UserError
from dcgmm_cli.model.folding import Folding
from dcgmm_cli.model.gmm import GMM, GMMOptions, Scored
from dcgmm_cli.model.patches import SINGLE, Patches
from dcgmm_cli.model.pooling import Pooling
from dcgmm_cli.model.power import Power
from dcgmm_cli.model.shapes import Shape

Layer = Folding | Pooling | Power | GMM


class DCGMM(nn.Module):
    """A Deep Convolutional Gaussian Mixture Model: layers from the image up; GMM layers are named gmm1, gmm2, ...

    Args:
        layers: at least one GMM layer among them, each layer's input_shape the output_shape of the one before.
        batch_shape: leading shape of all parameters, as the GMM layers have it.

    Raises:
        UserError: no layers, no GMM layer, a Power layer that is not the first, or neighbours whose shapes differ.
    """

    def __init__(self, layers: Sequence[Layer], batch_shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        if not any(isinstance(layer, GMM) for layer in layers):
            raise UserError("a model needs at least one GMM layer")
        for number, (below, above) in enumerate(pairwise(layers), start=2):
            if isinstance(above, Power):
                raise UserError(f"layer {number}: a Power layer takes pixels and must be the first layer")
            if below.output_shape != above.input_shape:
                raise UserError(
                    f"layer {number} takes {above.input_shape}, the layer under it gives {below.output_shape}"
                )
        self.layers = nn.ModuleList(layers)
        self.batch_shape = batch_shape

    @classmethod
    def build(
        cls,
        input_shape: Sequence[int],
        layers: Sequence[Mapping[str, Any]],
        options: GMMOptions | None = None,
        batch_shape: tuple[int, ...] = (),
    ) -> Self:
        """Stack layers from their descriptions.

        Args:
            input_shape: (H, W, C) of the images.
            layers: one mapping a layer: {"type": "folding", "kernel": (kh, kw), "stride": (sh, sw)},
                {"type": "pooling", "kernel": ..., "stride": ...}, {"type": "gmm", "components": K}, and as the first
                maybe {"type": "power", "exponent": e}.
            options: start values and limits of the GMM layers.
            batch_shape: leading shape of all parameters.

        Raises:
            UserError: names the layer's number and type, and what is wrong with it.
        """
        shape = Shape(*input_shape)
        stack: list[Layer] = []
        for number, description in enumerate(layers, start=1):
            given = {key: value for key, value in description.items() if value is not None}
            kind = given.pop("type", None)
            try:
                stack.append(_build_layer(kind, shape, given, options, batch_shape))
            except UserError as error:
                raise UserError(f"layer {number}, {_describe(kind, given)}: {error}") from None
            shape = stack[-1].output_shape
        return cls(stack, batch_shape)

    @classmethod
    def side_by_side(cls, models: Sequence[Self]) -> Self:
        """R models of one architecture, each with batch_shape (), as one with batch_shape (R,)."""
        together = copy.deepcopy(models[0])
        together.batch_shape = (len(models),)
        for name, parameter in models[0].named_parameters():
            layer, _, key = name.rpartition(".")
            stacked = torch.stack([model.get_parameter(name).detach() for model in models])
            setattr(together.get_submodule(layer), key, nn.Parameter(stacked, parameter.requires_grad))
        return together

    def alone(self) -> list[Self]:
        """The models of batch_shape (R,), each by itself; one of batch_shape () is its only one."""
        if not self.batch_shape:
            return [self]
        models = []
        for number in range(*self.batch_shape):
            # What deepcopy takes as copied already: its own part of each parameter, instead of all R models' once more.
            own = {id(p): nn.Parameter(p.detach()[number].clone(), p.requires_grad) for p in self.parameters()}
            model = copy.deepcopy(self, own)
            model.batch_shape = ()
            models.append(model)
        return models

    @property
    def gmms(self) -> dict[str, GMM]:
        """The GMM layers by name, gmm1 the lowest."""
        found = [layer for layer in self.layers if isinstance(layer, GMM)]
        return {f"gmm{number}": layer for number, layer in enumerate(found, start=1)}

    @property
    def input_shape(self) -> Shape:
        """(H, W, C) of the images."""
        shape: Shape = self.layers[0].input_shape  # type: ignore[assignment]  # nn.ModuleList forgets types
        return shape

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the parameters, and so of the images that the model takes."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def pixel_values(self, x: Tensor) -> Tensor:  # any shape
        """Values that the lowest layers see, such as gmm1's centroids, as pixel values: without the Power layer."""
        first = self.layers[0]
        return first.downward(x) if isinstance(first, Power) else x

    def draw_start(self, generator: torch.Generator) -> None:
        """Draw the start values of all GMM layers, from below."""
        for gmm in self.gmms.values():
            gmm.draw_start(generator)

    def score(self, x: Tensor) -> dict[str, Scored]:  # (..., N, H, W, C)
        """Scores of every GMM layer for a batch of images, by the layer's name.

        Raises:
            UserError: the images have another shape than the model takes.
        """
        if tuple(x.shape[-3:]) != tuple(self.input_shape):
            given = "x".join(str(size) for size in x.shape[-3:])
            raise UserError(f"the model takes images of {self.input_shape}, not {given}")
        scored: dict[str, Scored] = {}

        def take(name: str, gmm: GMM, patches: Patches, top: bool) -> Tensor | None:
            scored[name] = gmm.score(patches)
            return None if top else scored[name].responsibilities

        self.upward(x, take)
        return scored

    def upward(self, x: Tensor, take: Callable[[str, GMM, Patches, bool], Tensor | None]) -> None:
        """Through the layers from below, up to the last GMM layer.

        Args:
            x: (..., N, H, W, C), images.
            take: is given every GMM layer's name, the layer, what it sees, and whether it is the last one; returns
                what the layer passes on.
        """
        names, layers = list(self.gmms), list(self.layers)
        for below, layer, above in zip([None, *layers], layers, [*layers[1:], None], strict=False):
            if isinstance(layer, GMM):
                patches = below.patches(x) if isinstance(below, Folding) else Patches(x, SINGLE)
                passed = take(names.pop(0), layer, patches, not names)
                if not names:
                    return
                assert passed is not None
                x = passed
            elif not (isinstance(layer, Folding) and isinstance(above, GMM)):  # the GMM layer takes its patches
                x = layer(x)

    def log_prob(self, x: Tensor) -> Tensor:  # (..., N, H, W, C) -> (..., N)
        """Log-likelihood of each image in the top GMM layer, mean over that layer's positions (nats)."""
        return list(self.score(x).values())[-1].log_prob.mean((-2, -1))

    def forward(self, x: Tensor) -> Tensor:  # (..., N, H, W, C)
        """Upward through all layers: the last layer's output."""
        for layer in self.layers:
            x = layer(x)
        return x


def _build_layer(
    kind: object,
    shape: Shape,
    given: Mapping[str, Any],
    options: GMMOptions | None,
    batch_shape: tuple[int, ...],
) -> Layer:
    allowed = {
        "folding": ("kernel", "stride"),
        "pooling": ("kernel", "stride"),
        "power": ("exponent",),
        "gmm": ("components",),
    }
    if not isinstance(kind, str) or kind not in allowed:
        raise UserError(f"the type must be one of {', '.join(allowed)}")
    required = allowed[kind][0]
    if required not in given:
        raise UserError(f"{required} is missing")
    if extra := set(given) - set(allowed[kind]):
        raise UserError(f"{', '.join(sorted(extra))} is not for this type, which takes {', '.join(allowed[kind])}")
    if kind == "gmm":
        return GMM(shape, given["components"], options, batch_shape)
    if kind == "power":
        return Power(shape, given["exponent"])
    windowed = Folding if kind == "folding" else Pooling
    return windowed(shape, **{key: tuple(value) for key, value in given.items()})


def _describe(kind: object, given: Mapping[str, Any]) -> str:
    name = {"folding": "Folding", "pooling": "Pooling", "power": "Power", "gmm": "GMM"}.get(str(kind), str(kind))
    values = [str(size) for value in given.values() for size in (value if hasattr(value, "__iter__") else [value])]
    return f"{name}({', '.join(values)})"
