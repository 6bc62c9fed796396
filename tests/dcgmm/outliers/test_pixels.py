import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dcgmm.model import DCGMM, Scored
from dcgmm.outliers.pixels import VARIANCE, PixelMixture, PixelSums
from tests.conftest import ROUNDING, uniform


def scored(images: Tensor, components: int = 4) -> Scored:
    """A top layer's scores, at several positions."""
    layers: list[dict[str, Any]] = [
        {"type": "folding", "kernel": (3, 2), "stride": (1, 2)},
        {"type": "gmm", "components": components},
    ]
    model = DCGMM.build(images.shape[1:], layers).double()
    with torch.no_grad():
        model.gmms["gmm1"].loc.copy_(uniform(*model.gmms["gmm1"].loc.shape, seed=1))
        return model.score(images)["gmm1"]


def fitted(images: Tensor, batch_size: int) -> PixelMixture:
    sums = PixelSums()
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        sums.add(batch, scored(batch))
    return sums.mixture(torch.float64)


def test_components_are_the_weighted_training_images() -> None:
    images = uniform(40, 5, 4, 3)
    mixture, x = fitted(images, 40), images.sqrt().flatten(1)
    share = scored(images).responsibilities.mean((1, 2))
    assert share.shape == (40, 4)
    torch.testing.assert_close(mixture.weights, share.mean(0))
    for k in range(4):
        weight = share[:, k] / share[:, k].sum()
        mean = (weight[:, None] * x).sum(0)
        torch.testing.assert_close(mixture.mean[k], mean)
        torch.testing.assert_close(mixture.variance[k], (weight[:, None] * (x - mean).square()).sum(0) + VARIANCE)


def test_log_prob_is_that_of_torchs_mixture() -> None:
    mixture, new = fitted(uniform(40, 5, 4, 3), 40), uniform(7, 5, 4, 3, seed=2) * 1.5 - 0.1
    gaussians = Independent(Normal(mixture.mean, mixture.variance.sqrt()), 1)
    oracle = MixtureSameFamily(Categorical(mixture.weights), gaussians)
    torch.testing.assert_close(mixture.log_prob(new), oracle.log_prob(new.clamp(min=0).sqrt().flatten(1)))


def test_batches_do_not_matter() -> None:
    images = uniform(40, 5, 4, 3)
    whole, parts = fitted(images, 40).state_dict(), fitted(images, 7).state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, **ROUNDING)


def test_a_component_that_takes_no_image_adds_nothing() -> None:
    one = PixelMixture(torch.ones(1), torch.zeros(1, 6), torch.ones(1, 6))
    two = PixelMixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 6), torch.ones(2, 6))
    images = uniform(5, 1, 2, 3).float()
    torch.testing.assert_close(one.log_prob(images), two.log_prob(images))
    assert float(one.log_prob(torch.zeros(1, 1, 2, 3))) == pytest.approx(-3 * math.log(2 * math.pi))


def test_state_brings_the_mixture_back() -> None:
    mixture, images = fitted(uniform(40, 5, 4, 3), 40), uniform(7, 5, 4, 3, seed=2)
    again = PixelMixture.from_state(mixture.state_dict(), torch.device("cpu"))
    assert torch.equal(again.log_prob(images), mixture.log_prob(images))
