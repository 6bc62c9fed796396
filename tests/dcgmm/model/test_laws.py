"""Laws that every layer and every architecture keeps. A new layer or architecture joins with one entry."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dcgmm
from dcgmm.model import DCGMM, GMM, Folding, LayerOptions, LayerType, Pooling, Shape
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.layers import Layer
from tests.conftest import EXACT, ROUNDING, normal, uniform
from tests.dcgmm.small import give_factors


def gmm(shape: Shape, components: int, *, shared: bool = True) -> GMM:
    layer = GMM(shape, components, shared=shared)
    layer.draw_start(torch.Generator().manual_seed(0))
    return layer


# What makes a model of a layer alone.
ABOVE: dict[type[Layer], list[LayerOptions]] = {
    Folding: [LayerOptions(LayerType.gmm, components=1)],
    Pooling: [LayerOptions(LayerType.gmm, components=1)],
    GMM: [],
    FactorGMM: [],
}
LAYERS: dict[str, Callable[[], Layer]] = {
    "folding": lambda: Folding(Shape(6, 5, 3), (3, 2), (2, 1)),
    "folding, windows apart": lambda: Folding(Shape(7, 8, 2), (2, 1), (3, 4)),
    "folding, the whole map": lambda: Folding(Shape(4, 5, 3), (4, 5)),
    "folding, single pixels": lambda: Folding(Shape(4, 5, 3), (1, 1), (1, 1)),
    "pooling": lambda: Pooling(Shape(6, 9, 3), (2, 3)),
    "pooling, partial windows": lambda: Pooling(Shape(7, 5, 2), (2, 3)),
    "pooling, overlapping": lambda: Pooling(Shape(6, 5, 2), (3, 2), (2, 1)),
    "gmm": lambda: gmm(Shape(3, 4, 5), 9),
    "gmm, one component": lambda: gmm(Shape(2, 1, 1), 1),
    "gmm, parameters for each position": lambda: gmm(Shape(3, 4, 5), 9, shared=False),
    "gmm, factors for each position": lambda: give_factors(FactorGMM(Shape(3, 2, 5), 4, 2, shared=False)),
    "gmm, factors": lambda: give_factors(FactorGMM(Shape(3, 4, 5), 9, 2)),
    "gmm, all factors that there can be": lambda: give_factors(FactorGMM(Shape(1, 2, 4), 1, 3)),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@each_layer
@pytest.mark.parametrize("samples", [1, 3])
def test_the_output_has_the_shape_that_was_announced(make: Callable[[], Layer], samples: int) -> None:
    layer = make().double()
    assert layer(normal(samples, *layer.input_shape)).shape == (samples, *layer.output_shape)


@each_layer
def test_a_sample_does_not_depend_on_its_batch(make: Callable[[], Layer]) -> None:
    layer = make().double()
    x = normal(4, *layer.input_shape)
    together = layer(x)
    for number in range(4):
        torch.testing.assert_close(layer(x[number : number + 1])[0], together[number], **ROUNDING)


@each_layer
def test_neither_call_changes_its_input_or_the_layer(make: Callable[[], Layer]) -> None:
    layer = make().double()
    x = normal(2, *layer.input_shape)
    kept, state = x.clone(), copy.deepcopy(layer.state_dict())
    first = layer(x)
    assert torch.equal(layer(x), first)
    assert torch.equal(x, kept)
    torch.testing.assert_close(layer.state_dict(), state, **EXACT)


@each_layer
def test_a_view_of_other_strides_is_the_same_input(make: Callable[[], Layer]) -> None:
    layer = make().double()
    x = normal(2, *layer.input_shape)
    channels_first = x.movedim(-1, 1).contiguous().movedim(1, -1)
    torch.testing.assert_close(layer(channels_first), layer(x), **ROUNDING)


@each_layer
def test_gradients_reach_the_input(make: Callable[[], Layer]) -> None:
    layer = make().double()
    x = normal(2, *layer.input_shape).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


@each_layer
def test_shapes_stand_in_the_printed_form(make: Callable[[], Layer]) -> None:
    layer = make()
    assert f"{layer.input_shape} -> {layer.output_shape}" in repr(layer)


@each_layer
def test_a_description_makes_the_layer_again(make: Callable[[], Layer]) -> None:
    layer = make()
    assert isinstance(layer.description, LayerOptions)
    (again,) = DCGMM.build(layer.input_shape, [layer.description, *ABOVE[type(layer)]]).layers[:1]
    assert repr(again) == repr(layer)


# Heights and widths by hand: the first GMM layer's map up to the top.
MAPS = {
    "1L": [1],
    "2L-a": [2, 1],
    "2L-b": [4, 1],
    "2L-c": [8, 1],
    "2L-d": [1, 1],
    "2L-e": [8, 1],
    "3L-a": [26, 10, 1],
    "3L-b": [1, 1, 1],
    "factors": [1],
    "parts": [6],
    "patches-100": [11],
    "textures": [6],
    "tiles-400": [4, 1],
    "tiles-factors": [4, 1],
}
COMPONENTS = {  # all others 25 and 36
    "1L": [25],
    "3L-a": [25, 25, 49],
    "3L-b": [25, 25, 25],
    "factors": [100],
    "parts": [9],
    "patches-100": [100],
    "textures": [64],
    "tiles-400": [100, 400],
    "tiles-factors": [100, 400],
}
each_architecture = pytest.mark.parametrize("name", MAPS)


def architecture(name: str) -> DCGMM:
    model = DCGMM.build((28, 28, 1), dcgmm.arch(name))
    model.draw_start(torch.Generator().manual_seed(0))
    return give_factors(model)


def test_every_architecture_file_is_listed() -> None:
    folder = Path(__file__).parents[3] / "conf" / "arch"
    assert {path.stem for path in folder.glob("*.yaml")} == set(MAPS)


@each_architecture
def test_maps_and_components_are_those_announced(name: str) -> None:
    gmms = architecture(name).gmms
    assert [layer.output_shape.height for layer in gmms.values()] == MAPS[name]
    assert [layer.output_shape.width for layer in gmms.values()] == MAPS[name]
    assert [layer.components for layer in gmms.values()] == COMPONENTS.get(name, [25, 36])
    assert list(gmms) == [f"gmm{number}" for number in range(1, len(gmms) + 1)]


@each_architecture
def test_an_architecture_scores_images_whatever_their_batch(name: str) -> None:
    model = architecture(name).double()
    x = uniform(3, *model.input_shape)
    with torch.no_grad():
        scored = model.score(x)
        log_prob = model.log_prob(x)
        assert log_prob.shape == (3,)
        torch.testing.assert_close(log_prob, torch.cat([model.log_prob(image[None]) for image in x]), **ROUNDING)
    for layer, result in zip(model.gmms.values(), scored.values(), strict=True):
        assert result.log_prob.shape == (3, layer.output_shape.height, layer.output_shape.width)
        assert result.log_prob.isfinite().all()
        torch.testing.assert_close(result.responsibilities.sum(-1), torch.ones_like(result.log_prob), **ROUNDING)
        assert (result.max_component_score <= result.log_prob).all()


@each_architecture
def test_parameters_survive_the_state_dict(name: str) -> None:
    model, other = architecture(name), DCGMM.build((28, 28, 1), dcgmm.arch(name))
    other.load_state_dict(model.state_dict())
    x = uniform(2, *model.input_shape).float()
    assert torch.equal(other(x), model(x))
