import torch

from dcgmm.generation.components import greedy_sample, mean_images
from tests.dcgmm.small import small_model


def test_mean_images_of_a_lowest_layer_are_its_centroids() -> None:
    model = small_model()
    means = mean_images(model, "gmm1", draws=2)
    gmm, folding = model.gmms["gmm1"], model.foldings["folding1"]
    everywhere = gmm.loc.detach().view(4, 1, 1, -1).expand(4, *gmm.input_shape)
    torch.testing.assert_close(means, folding.downward(everywhere))


def test_the_seed_draws_lower_components() -> None:
    model = small_model()
    first, again, other = (mean_images(model, "gmm2", seed) for seed in (0, 0, 1))
    assert first.shape == (9, 9, 7, 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_greedy_sample_takes_the_strongest_entries() -> None:
    samples = greedy_sample(small_model(), 5)
    assert samples.components["gmm2"].flatten().tolist() == [5]
    assert torch.equal(samples.components["gmm1"], samples.control["gmm1"].argmax(-1))
