"""What a model's layers are, in numbers."""

import math
from dataclasses import dataclass

from dcgmm.model.gmm import GMM
from dcgmm.model.shapes import Shape
from dcgmm.model.stack import DCGMM


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a model, in numbers.

    Attributes:
        name: folding1, gmm1, ...
        layer: as the paper writes it.
        input_shape: of one sample.
        output_shape: of one sample.
        positions: of its output, H * W.
        parameters: how many.
        flops: floating-point operations of the products that score one image.

    Examples:
        >>> import dcgmm
        >>> top = dcgmm.model.summarise(dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b")))[-1]
        >>> top.name, top.layer, str(top.input_shape), str(top.output_shape)
        ('gmm2', 'G(36)', '1x1x400', '1x1x36')
    """

    name: str
    layer: str
    input_shape: Shape
    output_shape: Shape
    positions: int
    parameters: int
    flops: int


def summarise(model: DCGMM) -> list[LayerSummary]:
    """A model's layers from below, in numbers; of models side by side those of one.

    A GMM layer takes 4 P K D operations for an image of P positions: x and x^2 with the parameters of each of K
    components; with L factors 2 P K D L more. Folding and Pooling multiply nothing.

    Args:
        model: the model, or several side by side.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), [{"type": "folding", "kernel": [7, 7], "stride": [3, 3]},
        ...                                         {"type": "gmm", "components": 25}])
        >>> [(layer.name, layer.positions, layer.parameters, layer.flops) for layer in dcgmm.model.summarise(model)]
        [('folding1', 64, 0, 0), ('gmm1', 64, 2475, 313600)]
    """
    models = math.prod(model.batch_shape)
    named = zip(model.named_layers.items(), model.architecture.layers, strict=True)
    return [
        LayerSummary(
            name,
            str(described),
            layer.input_shape,
            layer.output_shape,
            layer.output_shape.positions,
            sum(parameter.numel() for parameter in layer.parameters()) // models,
            layer.flops if isinstance(layer, GMM) else 0,
        )
        for (name, layer), described in named
    ]
