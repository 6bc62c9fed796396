from dcgmm.model import DCGMM, LayerOptions, LayerType, Shape, summarise
from tests.dcgmm.small import LAYERS, SHAPE, small_model


def test_shapes_and_parameters_are_those_of_the_layers() -> None:
    model = small_model()
    found = summarise(model)
    assert [layer.name for layer in found] == list(model.named_layers)
    assert [layer.layer for layer in found] == list(map(str, LAYERS))
    assert found[0].input_shape == Shape(*SHAPE)
    assert [layer.input_shape for layer in found[1:]] == [layer.output_shape for layer in found[:-1]]
    assert sum(layer.parameters for layer in found) == sum(parameter.numel() for parameter in model.parameters())


def test_operations_are_those_of_the_products() -> None:
    layers = [LayerOptions(LayerType.folding, kernel=[3, 2]), LayerOptions(LayerType.gmm, components=4, factors=3)]
    folding, gmm = summarise(DCGMM.build((5, 4, 2), layers))
    positions, features = 3 * 3, 3 * 2 * 2
    assert folding.flops == 0
    # x W + x^2 V, a multiplication and an addition each; and G^T x.
    assert gmm.flops == 2 * positions * 4 * features * (1 + 1 + 3)


def test_of_models_side_by_side_those_of_one() -> None:
    alone = small_model()
    assert summarise(DCGMM.side_by_side([alone, small_model(1)])) == summarise(alone)
