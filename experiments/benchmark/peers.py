"""Other detectors: all see vectors of pixels in [0, 1], and score high for inliers.

Those of PyOD need `pip install '.[benchmark]'`; where it is not installed they are left out.

Shapes: N images of F pixels.
"""

import contextlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM
from torch import Tensor

from experiments.outliers import peers as flat
from experiments.outliers.peers import Points, Scorer, Scores

MANY = 10_000  # images that a method gets at most, where it compares each with each or keeps several copies of them
SVM_MANY = 6_000
BANDWIDTHS = np.geomspace(0.5, 8, 13)  # of which held-out training images choose
HELD = 10  # every tenth
NEIGHBOURS = 20  # of the local outlier factor


def square_roots(peer: Callable[[Points, int], Scorer]) -> Callable[[Points, int], Scorer]:
    """A method on square roots of pixels."""

    def fit(train: Points, seed: int) -> Scorer:
        score = peer(np.sqrt(train), seed)
        return lambda x: score(np.sqrt(x))

    return fit


def kernel_density(train: Points, seed: int) -> Scorer:
    """Log-density, less a constant, of a Gaussian kernel on each image; its width has the best held-out likelihood."""
    held = np.arange(len(train)) % HELD == 0
    distances = np.concatenate(list(_squared_distances(train[held], train[~held])))
    log_densities = [_log_density(distances, width, train.shape[1]).mean() for width in BANDWIDTHS]
    best = float(BANDWIDTHS[int(np.argmax(log_densities))])
    return lambda x: np.concatenate([_log_density(part, best, x.shape[1]) for part in _squared_distances(x, train)])


def _squared_distances(x: Points, train: Points) -> "list[NDArray[np.float64]]":
    return list(pairwise_distances_chunked(x, train, squared=True))


def _log_density(squared: NDArray[np.floating], width: float, features: int) -> Scores:  # (n, N) -> (n,)
    exponents = -squared / (2 * width**2)
    largest = exponents.max(1, keepdims=True)
    sums = np.exp(exponents - largest).sum(1, dtype=np.float64)
    return np.asarray(np.log(sums) + largest[:, 0] - features * np.log(width))


def one_class_svm(train: Points, seed: int) -> Scorer:
    """Distance to the hyperplane; scikit-learn's defaults but nu, a tenth of the images outside."""
    svm = OneClassSVM(nu=0.1).fit(train)
    return lambda x: svm.score_samples(x)


def local_outlier_factor(train: Points, seed: int) -> Scorer:
    """Density about an image, against that about its neighbours."""
    factor = LocalOutlierFactor(NEIGHBOURS, algorithm="brute", novelty=True).fit(train)
    return lambda x: factor.score_samples(x)


def pyod(module: str, name: str, **options: object) -> Callable[[Points, int], Scorer]:
    """A detector of PyOD with its defaults, but for options."""

    def fit(train: Points, seed: int) -> Scorer:
        detector = getattr(importlib.import_module(f"pyod.models.{module}"), name)
        seeded = {"random_state": seed, "n_features": train.shape[1], "verbose": 0} if name == "DeepSVDD" else {}
        with contextlib.redirect_stdout(io.StringIO()):
            fitted = detector(**options, **seeded).fit(train)
        return lambda x: -np.asarray(fitted.decision_function(x), dtype=np.float64)

    return fit


@dataclass(frozen=True)
class Peer:
    """A method under a name."""

    title: str
    fit: Callable[[Points, int], Scorer]
    images: int | None = None  # that it is fitted to at most, drawn by the seed; None: all
    package: str = "sklearn"
    seconds: float = 5.0  # expected, of 6,000 images and 10,000 scored ones

    @property
    def installed(self) -> bool:
        """Whether what it needs is there."""
        return importlib.util.find_spec(self.package) is not None


PEERS = {
    "nearest": Peer("nearest neighbour, pixels", flat.nearest_neighbour),
    "nearest-root": Peer("nearest neighbour, square roots", square_roots(flat.nearest_neighbour)),
    "pca": Peer("PCA(50), reconstruction", flat.pca_reconstruction, seconds=2),
    "full": Peer("PCA(50) whitened, 25 full Gaussians", flat.full_mixture),
    "diagonal": Peer("25 diagonal Gaussians", flat.diagonal_mixture),
    "forest": Peer("isolation forest, 200 trees", flat.isolation_forest),
    "factor": Peer(f"local outlier factor, {NEIGHBOURS} neighbours", local_outlier_factor, MANY),
    "kernel": Peer("kernel density, width by held-out likelihood", kernel_density, MANY),
    "svm": Peer("one-class SVM", one_class_svm, SVM_MANY, seconds=15),
    "knn": Peer("PyOD KNN", pyod("knn", "KNN", algorithm="brute"), MANY, "pyod"),
    "ecod": Peer("PyOD ECOD", pyod("ecod", "ECOD"), MANY, "pyod"),
    "copod": Peer("PyOD COPOD", pyod("copod", "COPOD"), MANY, "pyod"),
    "deep-svdd": Peer("PyOD DeepSVDD", pyod("deep_svdd", "DeepSVDD", batch_size=200), MANY, "pyod", seconds=30),
}


def fitted_images(peer: Peer, images: Tensor, seed: int) -> Points:  # (N, H, W, C) -> (n, F)
    """What a method is fitted to."""
    points = flat.points(images)
    if peer.images is None or len(points) <= peer.images:
        return points
    rows = np.random.default_rng(seed).choice(len(points), peer.images, replace=False)
    return points[np.sort(rows)]
