import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from torch import Tensor

from dcgmm.generation import peers as module
from dcgmm.generation.peers import RIDGE, TOLERANCE, flat_mixture, full_gaussian, neighbours, peers


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Training images, images to complete, what was seen of them."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.rand(6, 6, generator=generator)
    training = torch.rand(300, 6, generator=generator) @ mixing / 6
    x = torch.rand(5, 6, generator=generator) @ mixing / 6
    return training, x, torch.rand(5, 6, generator=generator) < 0.5


@pytest.mark.parametrize("count", [1, 10])
def test_neighbours_are_those_nearest_on_what_was_seen(data: tuple[Tensor, Tensor, Tensor], count: int) -> None:
    training, x, seen = data
    for row, image in enumerate(neighbours(training, x, seen, count)):
        distance = (training - x[row])[:, seen[row]].square().sum(1)
        torch.testing.assert_close(image, training[distance.argsort()[:count]].mean(0))


def test_a_full_gaussian_s_mean_is_that_of_its_regression(data: tuple[Tensor, Tensor, Tensor]) -> None:
    training, x, seen = data
    completed = full_gaussian(training, x, seen)
    mean, covariance = training.mean(0).double(), training.double().T.cov() + RIDGE * torch.eye(6)
    precision = covariance.inverse()
    for row in range(len(x)):
        o = seen[row]
        # By the precision matrix, where the other way goes by the covariance.
        rest = precision[~o][:, o] @ (x[row].double() - mean)[o]
        expected = mean[~o] - torch.linalg.solve(precision[~o][:, ~o], rest)
        torch.testing.assert_close(completed[row, ~o].double(), expected, rtol=1e-5, atol=1e-6)


def test_a_flat_mixture_weighs_components_by_what_was_seen(data: tuple[Tensor, Tensor, Tensor]) -> None:
    training, x, seen = data
    completed = flat_mixture(training, x, seen, seed=3)
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(3))
    oracle = GaussianMixture(
        module.MIXTURE_COMPONENTS, covariance_type="diag", reg_covar=RIDGE, tol=TOLERANCE, random_state=3
    ).fit(training[order].double().numpy())
    for row in range(len(x)):
        o = seen[row].numpy()
        weights = np.array(
            [
                weight * (multivariate_normal(mean[o], np.diag(variance[o])).pdf(x[row].numpy()[o]) if o.any() else 1)
                for weight, mean, variance in zip(oracle.weights_, oracle.means_, oracle.covariances_, strict=True)
            ]
        )
        expected = weights @ oracle.means_ / weights.sum()
        np.testing.assert_allclose(completed[row].numpy(), expected, rtol=1e-4)


def test_all_peers_complete_every_image_also_of_few_training_images(data: tuple[Tensor, Tensor, Tensor]) -> None:
    training, x, seen = data
    for complete in peers(training[:8], seed=0).values():
        completed = complete(x, seen)
        assert completed.shape == x.shape
        assert completed.isfinite().all()
        # What was not seen has no part in it.
        hidden = torch.where(seen, x, torch.rand(5, 6, generator=torch.Generator().manual_seed(9)))
        torch.testing.assert_close(complete(hidden, seen)[~seen], completed[~seen])


def test_images_that_are_all_alike_are_completed_without_a_warning() -> None:
    training, seen = torch.full((30, 9), 0.5), torch.arange(9).expand(2, 9) < 4
    for complete in peers(training, 0).values():
        torch.testing.assert_close(complete(training[:2], seen), training[:2])
