"""Completions that need no deep model: what a model's are worth.

Shapes: N training images, n images to complete, D = H W C values of an image, K components. Values of missing pixels
may be anything finite; all functions give (n, D), of which only what is missing counts.
"""

import warnings
from collections.abc import Callable

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

RIDGE = 1e-3  # added to variances, which are 0 in a data set's margins
MIXTURE_COMPONENTS = 25
MIXTURE_IMAGES = 10_000  # of the training images, at most
TOLERANCE = 0.1  # nats an image that a step of EM must bring
ROWS = 100  # images at a time, for memory


def peers(training: Tensor, seed: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Functions of images (n, D) and of what was seen (n, D), by name.

    Args:
        training: (N, D) values in [0, 1].
        seed: of the mixture's start and of the images it is fitted to.
    """
    return {
        "training mean": lambda x, seen: training.mean(0).expand_as(x),
        "nearest neighbour": lambda x, seen: neighbours(training, x, seen, 1),
        "10 nearest neighbours": lambda x, seen: neighbours(training, x, seen, 10),
        "full Gaussian": lambda x, seen: full_gaussian(training, x, seen),
        f"flat mixture, K={MIXTURE_COMPONENTS}": lambda x, seen: flat_mixture(training, x, seen, seed),
    }


def neighbours(training: Tensor, x: Tensor, seen: Tensor, count: int) -> Tensor:
    """Mean of the training images that are nearest on the seen pixels."""
    parts, squares = [], training.square().T.contiguous()
    for rows, observed in zip(x.split(ROWS), seen.to(x).split(ROWS), strict=True):
        # Up to what does not depend on the training image.
        distance = observed @ squares - 2 * (rows * observed) @ training.T
        nearest = distance.topk(min(count, len(training)), largest=False).indices
        parts.append(training[nearest].mean(1))
    return torch.cat(parts)


def full_gaussian(training: Tensor, x: Tensor, seen: Tensor) -> Tensor:
    """Conditional mean of one Gaussian with the training images' mean and covariance."""
    data, given = training.double(), x.double()
    mean, covariance = data.mean(0), data.T.cov()
    covariance.diagonal().add_(RIDGE)
    completed = mean.repeat(len(x), 1)
    masks, which = seen.unique(dim=0, return_inverse=True)
    for index, mask in enumerate(masks):
        rows = which == index
        inner, both = covariance[mask][:, mask], covariance[mask][:, ~mask]
        weights = torch.cholesky_solve(both, torch.linalg.cholesky(inner))  # (seen, missing)
        part = completed[rows]
        part[:, ~mask] += (given[rows][:, mask] - mean[mask]) @ weights
        completed[rows] = part
    return completed.to(x.dtype)


def flat_mixture(training: Tensor, x: Tensor, seen: Tensor, seed: int) -> Tensor:
    """Conditional mean of a mixture with diagonal covariances, fitted by EM."""
    generator = torch.Generator().manual_seed(seed)
    some = training[torch.randperm(len(training), generator=generator)[:MIXTURE_IMAGES]]
    mixture = GaussianMixture(
        min(MIXTURE_COMPONENTS, len(some)), covariance_type="diag", reg_covar=RIDGE, tol=TOLERANCE, random_state=seed
    )
    with warnings.catch_warnings():
        # Of fewer different images than components some of these are alike: as good a mixture.
        warnings.filterwarnings("ignore", "Number of distinct clusters")
        mixture.fit(some.double().numpy())
    loc, precision = torch.from_numpy(mixture.means_), torch.from_numpy(1 / mixture.covariances_)
    given, observed = x.double(), seen.double()
    squares = (given.square() * observed) @ precision.T - 2 * (given * observed) @ (precision * loc).T
    squares += observed @ (precision * loc.square()).T
    scores = torch.from_numpy(mixture.weights_).log() + 0.5 * (observed @ precision.log().T - squares)
    return (scores.softmax(-1) @ loc).to(x.dtype)
