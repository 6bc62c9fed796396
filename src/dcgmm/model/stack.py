"""The stack of Folding, Pooling and GMM layers (section 3), and what its input is raised to."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from dcgmm.errors import InputError, OptionError
from dcgmm.images import Images, as_images, as_mask, as_tensor, image_batches, raised, side_by_side, to_float
from dcgmm.model import fused
from dcgmm.model.folding import Folding
from dcgmm.model.gmm import GMM
from dcgmm.model.layers import Layer, build_layers, described, layer_names
from dcgmm.model.observed import score_shares, seen_part
from dcgmm.model.options import Architecture, GMMOptions, LayerOptions, SharpeningPreset
from dcgmm.model.patches import SINGLE, Patches
from dcgmm.model.scored import Scored
from dcgmm.model.shapes import Shape
from dcgmm.runtime import memory_of, set_up_cpu

BATCH_BYTES, BATCH_SIZE = 2**28, 200  # images are scored at most so many at a time, in so much memory
GPU_SHARE = 32  # ... on a GPU in one of so many parts of its memory

set_up_cpu()  # whoever has a model is about to compute: a script shall be as fast as the command line


class DCGMM(nn.Module):
    """A Deep Convolutional Gaussian Mixture Model: layers from the image up, named folding1, gmm1, folding2, gmm2, ...

    Args:
        layers: at least one GMM layer among them, each layer's input_shape the output_shape of the one before.
        exponent: pixel values in [0, 1] are raised to it before the first layer sees them, negative ones taken for 0.
            Every component's variance has the same least value, so dark structure, whose values differ little, counts
            little: an exponent under 1 spreads it.
        name: of the architecture.
        sharpening: how its samples are sharpened by default.
        batch_shape: leading shape of all parameters, as the GMM layers have it.

    Raises:
        InputError: no layers, no GMM layer, or neighbours whose shapes differ.
        OptionError: the exponent is not a positive number.

    Examples:
        >>> import dcgmm
        >>> list(dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b")).named_layers)
        ['folding1', 'gmm1', 'folding2', 'gmm2']
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        exponent: float = 1.0,
        name: str = "custom",
        sharpening: SharpeningPreset | None = None,
        batch_shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        described = [layer.description for layer in layers]
        if not any(isinstance(layer, GMM) for layer in layers):
            raise InputError(f"a model needs at least one GMM layer, not {' '.join(map(str, described)) or 'none'}")
        for number, (below, above) in enumerate(pairwise(layers), start=2):
            if below.output_shape != above.input_shape:
                raise InputError(
                    f"layer {number} takes {above.input_shape}, the layer under it gives {below.output_shape}"
                )
        self.architecture = Architecture(described, name, float(exponent), sharpening or SharpeningPreset())
        self.layers = nn.ModuleList(layers)
        self._names = layer_names(described)
        self.batch_shape = batch_shape

    @classmethod
    def build(
        cls,
        input_shape: Sequence[int],
        architecture: Architecture | Sequence[LayerOptions | Mapping[str, Any]],
        gmm: GMMOptions | None = None,
        batch_shape: tuple[int, ...] = (),
    ) -> Self:
        """Stack layers from their descriptions.

        Args:
            input_shape: (H, W, C) of the images.
            architecture: as `dcgmm.arch` gives it, or a list of layers, each as `LayerOptions` or a mapping:
                {"type": "folding", "kernel": [kh, kw], "stride": [sh, sw]},
                {"type": "pooling", "kernel": ..., "stride": ...}, {"type": "gmm", "components": K}.
            gmm: start values and limits of the GMM layers.
            batch_shape: leading shape of all parameters; (R,) holds R models side by side.

        Raises:
            InputError: names the layer's number and description, and what is wrong with it; or there is no
                memory for it.

        Examples:
            >>> DCGMM.build((28, 28, 1), [{"type": "folding", "kernel": [30, 30]}, {"type": "gmm", "components": 25}])
            Traceback (most recent call last):
            dcgmm.errors.InputError: layer 1, F(30,30,1,1): the window does not fit its 28x28 input; a kernel of at \
most 28x28 would
        """
        architecture = described(architecture)
        if len(input_shape) != 3 or any(type(size) is not int or size < 1 for size in input_shape):
            raise OptionError("input_shape", "three positive whole numbers (H, W, C)", list(input_shape))
        return cls(
            build_layers(architecture, Shape(*input_shape), gmm, batch_shape),
            exponent=architecture.exponent,
            name=architecture.name,
            sharpening=architecture.sharpening,
            batch_shape=batch_shape,
        )

    @classmethod
    def side_by_side(cls, models: Sequence[Self]) -> Self:
        """R models of one architecture, each with batch_shape (), as one with batch_shape (R,)."""
        together = copy.deepcopy(models[0])
        together.batch_shape = (len(models),)
        for name, parameter in models[0].named_parameters():
            layer, _, key = name.rpartition(".")
            stacked = torch.stack([model.get_parameter(name).detach() for model in models])
            setattr(together.get_submodule(layer), key, nn.Parameter(stacked, parameter.requires_grad))
        for gmm in together.gmms.values():
            gmm.refresh()
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
            for gmm in model.gmms.values():
                gmm.refresh()
            models.append(model)
        return models

    @property
    def named_layers(self) -> dict[str, Layer]:
        """All layers by name, from below."""
        return dict(zip(self._names, self.layers, strict=True))  # type: ignore[arg-type]  # nn.ModuleList forgets types

    @property
    def gmms(self) -> dict[str, GMM]:
        """The GMM layers by name, gmm1 the lowest."""
        return {name: layer for name, layer in self.named_layers.items() if isinstance(layer, GMM)}

    @property
    def foldings(self) -> dict[str, Folding]:
        """The Folding layers by name, folding1 the lowest."""
        return {name: layer for name, layer in self.named_layers.items() if isinstance(layer, Folding)}

    @property
    def input_shape(self) -> Shape:
        """(H, W, C) of the images."""
        shape: Shape = self.layers[0].input_shape  # type: ignore[assignment]  # nn.ModuleList forgets types
        return shape

    @property
    def exponent(self) -> float:
        """What pixel values are raised to."""
        return self.architecture.exponent

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the parameters; another than float32 and float64 is refused (InputError)."""
        found = next(self.parameters()).dtype
        if found not in (torch.float32, torch.float64):  # products of 16 bits are nats off, and updates are lost
            raise InputError(f"a model is of float32 or float64, not of {str(found).removeprefix('torch.')}")
        return found

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def batch_size(self) -> int:
        """Images that are scored at a time: as many as fit a fixed amount of memory, on a CPU at most `BATCH_SIZE`."""
        if self.device.type == "cuda":  # of all its memory, not of what is free: sums depend on it by their rounding
            return max(1, memory_of(self.device) // GPU_SHARE // self.image_bytes)
        return max(1, min(BATCH_SIZE, BATCH_BYTES // self.image_bytes))

    @property
    def image_bytes(self) -> int:
        """What an image and what all GMM layers make of it take in memory."""
        values = sum(layer.output_shape.positions * layer.output_shape.channels for layer in self.gmms.values())
        return torch.finfo(self.dtype).bits // 8 * (values + math.prod(self.input_shape))

    def seen_values(self, pixels: Tensor) -> Tensor:  # any shape
        """Pixel values in [0, 1] as the lowest layer sees them: raised to the exponent."""
        return raised(pixels, self.exponent)

    def pixel_values(self, seen: Tensor) -> Tensor:  # any shape
        """The inverse of `seen_values`, for what the lowest layer draws, or gmm1's centroids."""
        return raised(seen, 1 / self.exponent)

    def draw_start(self, generator: torch.Generator) -> None:
        """Draw the start values of all GMM layers, from below."""
        for gmm in self.gmms.values():
            gmm.draw_start(generator)

    def score(self, images: Images, observed: Images | None = None) -> dict[str, Scored]:
        """Scores of every GMM layer for a batch of images, by the layer's name.

        Args:
            images: (N, H, W, C) as `as_images` takes them; (..., N, H, W, C) floats for a model with a batch_shape.
            observed: (N, H, W) or (H, W), which pixels were seen: the others drop out of the lowest GMM layer exactly
                and may be NaN; above that it is an approximation, see `observed`. None: all.

        Raises:
            InputError: the images or the mask have another shape than the model takes, or values that are no pixels'.
        """
        if self.batch_shape:
            return self.score_floats(side_by_side(images, observed, (*self.batch_shape, "N", *self.input_shape)))
        if observed is None:
            return self.score_floats(to_float(as_images(images, self.input_shape).to(self.device), self.dtype))
        pixels, seen = seen_part(images, observed, self.input_shape)
        x = self.seen_values(to_float(pixels.to(self.device), self.dtype))
        return score_shares(self.named_layers, x, seen.to(x))

    def score_floats(self, x: Tensor, up_to: str | None = None) -> dict[str, Scored]:  # (..., N, H, W, C)
        """`score` of what is known to be images, as floats on the model's device; maybe of the lower layers alone."""
        scored: dict[str, Scored] = {}

        def take(name: str, gmm: GMM, patches: Patches, top: bool) -> Tensor | None:
            scored[name] = gmm.score(patches)
            return None if top else scored[name].responsibilities

        self.upward(x, take, up_to)
        return scored

    def upward(
        self, x: fused.Maps, take: Callable[[str, GMM, Patches, bool], Tensor | None], up_to: str | None = None
    ) -> None:
        """Through the layers from below, up to a GMM layer, by default the last one.

        Args:
            x: (..., N, H, W, C), images, maybe gathered by the layer that takes them.
            take: is given every GMM layer's name, the layer, what it sees, and whether it is the last one; returns
                what the layer passes on.
            up_to: name of the GMM layer.
        """
        x = x if self.exponent == 1 else self.seen_values(fused.taken(x))
        names, layers = list(self.gmms), list(self.layers)
        names = names if up_to is None else names[: names.index(up_to) + 1]
        for below, layer, above in zip([None, *layers], layers, [*layers[1:], None], strict=False):
            if isinstance(layer, GMM):
                patches = below.patches(x) if isinstance(below, Folding) else Patches(x, SINGLE)
                passed = take(names.pop(0), layer, patches, not names)
                if not names:
                    return
                assert passed is not None
                x = passed
            elif not (isinstance(layer, Folding) and isinstance(above, GMM)):  # the GMM layer takes its patches
                x = layer(fused.taken(x))

    def log_prob(self, images: Images, observed: Images | None = None) -> Tensor:  # (N,)
        """Log-likelihood of each image in the top GMM layer, mean over that layer's positions (nats; equation 3).

        Batch by batch, and with a gradient only where `images` is a tensor that requires one.

        Args:
            images, observed: as for `score`.

        Raises:
            InputError: as for `score`.

        Examples:
            >>> model = DCGMM.build((4, 4, 1), [LayerOptions("folding", [4, 4]), LayerOptions("gmm", components=4)])
            >>> model.log_prob(torch.zeros(3, 4, 4, 1)).shape
            torch.Size([3])
        """
        wanted = isinstance(images, Tensor) and images.requires_grad
        with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            if self.batch_shape or wanted:
                return _top_log_prob(self.score(images, observed))
            if observed is not None:
                given = as_tensor(images, self.input_shape), as_mask(observed, self.input_shape[:2], len(images))
                pairs = zip(*(each.split(self.batch_size) for each in given), strict=True)
                return torch.cat([_top_log_prob(self.score(*pair)) for pair in pairs])
            batches = image_batches(as_images(images, self.input_shape), self.batch_size, self.dtype, self.device)
            parts = [_top_log_prob(self.score_floats(batch)) for batch in batches]
            return torch.cat(parts) if parts else torch.empty(0, dtype=self.dtype, device=self.device)

    def forward(self, x: Tensor) -> Tensor:  # (..., N, H, W, C)
        """Upward through all layers: the last layer's output."""
        x = self.seen_values(x)
        for layer in self.layers:
            x = layer(x)
        return x


def _top_log_prob(scored: Mapping[str, Scored]) -> Tensor:  # (..., N)
    return list(scored.values())[-1].log_prob.mean((-2, -1))
