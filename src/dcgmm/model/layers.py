"""Layers made of their descriptions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dcgmm.errors import InputError, OptionError
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.folding import Folding
from dcgmm.model.gmm import GMM
from dcgmm.model.options import Architecture, GMMOptions, LayerOptions, LayerType
from dcgmm.model.pooling import Pooling
from dcgmm.model.shapes import Shape
from dcgmm.options import made
from dcgmm.runtime import require_memory

Layer = Folding | Pooling | GMM


def layer_names(layers: Sequence[LayerOptions]) -> list[str]:
    """A name for every layer from below: folding1, gmm1, pooling1, folding2, gmm2, ..."""
    kinds = [layer.type.value for layer in layers]
    return [f"{kind}{kinds[: place + 1].count(kind)}" for place, kind in enumerate(kinds)]


def described(architecture: Architecture | Sequence[LayerOptions | Mapping[str, Any]] | str) -> Architecture:
    """An architecture, given as such or as a list of layers, each as its description or a mapping.

    Raises:
        InputError: names a layer's number, and what is wrong with it.
    """
    if isinstance(architecture, Architecture):
        return architecture
    if isinstance(architecture, str):
        raise OptionError("architecture", f'a list of layers, or dcgmm.arch("{architecture}")', architecture)
    layers = []
    for number, layer in enumerate(architecture, start=1):
        try:
            layers.append(layer if isinstance(layer, LayerOptions) else made(LayerOptions, layer))
        except InputError as error:
            raise InputError(f"layer {number}: {error}") from None
    return Architecture(layers)


def build_layers(
    architecture: Architecture, shape: Shape, gmm: GMMOptions | None, batch_shape: tuple[int, ...]
) -> list[Layer]:
    """All layers of an architecture, on images of a shape.

    Raises:
        InputError: one cannot be there, named by its number and description, or there is no memory for all of them.
    """
    with torch.device("meta"):  # their shapes alone
        try:
            sketched = nn.ModuleList(_build(architecture, shape, gmm, batch_shape))
        except RuntimeError:  # more numbers than can be counted
            size = math.inf
        else:
            size = sum(each.numel() * each.element_size() for each in sketched.parameters())
    # Beside its parameters what start values are drawn in, or scores are made with: as measured.
    require_memory(5 * size, f"{architecture} for images of {shape}")
    return _build(architecture, shape, gmm, batch_shape)


def _build(
    architecture: Architecture, shape: Shape, gmm: GMMOptions | None, batch_shape: tuple[int, ...]
) -> list[Layer]:
    layers: list[Layer] = []
    for number, layer in enumerate(architecture.layers, start=1):
        try:
            layers.append(build_layer(layer, shape, gmm, batch_shape))
        except InputError as error:
            raise InputError(f"layer {number}, {layer}: {error}") from None
        shape = layers[-1].output_shape
    return layers


def build_layer(described: LayerOptions, shape: Shape, gmm: GMMOptions | None, batch_shape: tuple[int, ...]) -> Layer:
    """The layer that is described, on maps of a shape.

    Raises:
        InputError: it cannot be there.
    """
    if described.type is LayerType.gmm:
        assert described.components is not None  # LayerOptions sees to it
        assert described.shared is not None
        given = (gmm, batch_shape, described.shared)
        if described.factors:
            return FactorGMM(shape, described.components, described.factors, *given)
        return GMM(shape, described.components, *given)
    assert described.kernel is not None
    if described.type is LayerType.folding:
        return Folding(shape, described.kernel, described.stride or (1, 1))
    return Pooling(shape, described.kernel, described.stride)
