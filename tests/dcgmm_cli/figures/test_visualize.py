import torch

from dcgmm.model import DCGMM, Architecture, LayerOptions, LayerType
from dcgmm_cli.figures.visualize import brightened, centroids, value_maps
from tests.dcgmm.small import small_model


def test_maps_are_read_off_the_model() -> None:
    model = small_model()
    first, second = (gmm.loc.detach() for gmm in model.gmms.values())
    # Two channels of an image are shown by their mean.
    expected = first.view(4, 3, 2, 2).clamp(0, 1).mean(-1, keepdim=True)
    torch.testing.assert_close(value_maps(model, "gmm1", first), expected)
    # 2 x 3 positions of a 2 x 2 component grid each, with a gap of 1.
    maps = value_maps(model, "gmm2", second)
    assert maps.shape == (9, 5, 8, 1)
    assert maps[3, 3, 7, 0] == second[3].view(2, 3, 2, 2)[1, 2, 0, 1]


def test_centroids_look_as_in_images() -> None:
    layers = [LayerOptions(LayerType.folding, kernel=[4, 3]), LayerOptions(LayerType.gmm, components=4)]
    model = DCGMM.build((4, 3, 1), Architecture(layers, exponent=0.5))
    loc = model.gmms["gmm1"].loc.detach()
    expected = loc.clamp(min=0).square().view(4, 4, 3, 1)
    torch.testing.assert_close(centroids(model, "gmm1"), expected, atol=1e-7, rtol=1e-5)


def test_responsibilities_are_brightened_in_their_order() -> None:
    shown = brightened(torch.tensor([0.0, 0.01, 0.04, 0.16, -0.1]))
    torch.testing.assert_close(shown, torch.tensor([0.0, 0.25, 0.5, 1.0, 0.0]))
    assert not brightened(torch.zeros(3)).any()
    model = small_model()
    upper = centroids(model, "gmm2")
    loc = model.gmms["gmm2"].loc.detach()
    torch.testing.assert_close(upper, value_maps(model, "gmm2", brightened(loc)))
