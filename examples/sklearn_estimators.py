"""The estimators of `dcgmm.sklearn` beside scikit-learn's own, on the sample of MNIST that comes with the package.

    python examples/sklearn_estimators.py            # under a minute
    python examples/sklearn_estimators.py --limit 200 --epochs 5

A density is judged by the mean log-likelihood of images that it was not trained on, and by how well its components
agree with the digits. A detector is trained on the digits 0 to 4 and shall tell the digits 5 to 9 from them.
"""

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import adjusted_mutual_info_score, roc_auc_score
from sklearn.mixture import GaussianMixture

import dcgmm
from dcgmm.sklearn import ConvolutionalGaussianMixture, MixtureOutlierDetector

IMAGE_SHAPE = (28, 28)
CLASSES = [0, 1, 2, 3, 4]


def rows(split: Any) -> NDArray[np.float32]:  # (N, 784)
    """Images as scikit-learn takes them: rows of floats in [0, 1]."""
    images: NDArray[np.float32] = split.images.flatten(1).numpy().astype(np.float32) / 255
    return images


def densities(data: Any, epochs: int | None) -> None:
    """A flat mixture, trained by SGD and by expectation-maximisation."""
    train, test, labels = rows(data.train), rows(data.test), data.test.labels.numpy()
    estimators = {
        "ConvolutionalGaussianMixture": ConvolutionalGaussianMixture(
            image_shape=IMAGE_SHAPE, n_components=25, epochs=epochs, random_state=0
        ),
        "GaussianMixture": GaussianMixture(25, covariance_type="diag", reg_covar=0.05, random_state=0),
    }
    print(f"{'density':<34}{'score':>8}{'test':>8}{'AMI':>8}{'seconds':>9}")
    for name, estimator in estimators.items():
        start = time.perf_counter()
        estimator.fit(train)
        seconds = time.perf_counter() - start
        agreement = adjusted_mutual_info_score(labels, estimator.predict(test))
        print(f"{name:<34}{estimator.score(train):8.1f}{estimator.score(test):8.1f}{agreement:8.3f}{seconds:9.1f}")


def detectors(data: Any, limit: int | None, epochs: int | None) -> None:
    """Trained on some digits, judged on all."""
    known = dcgmm.datasets.load("mnist_sample", classes=CLASSES, limit=limit)
    train, test = rows(known.train), rows(data.test)
    inlier = np.isin(data.test.labels.numpy(), CLASSES)
    common: dict[str, Any] = {"image_shape": IMAGE_SHAPE, "epochs": epochs, "random_state": 0}
    estimators = {
        "MixtureOutlierDetector, 2L-c": MixtureOutlierDetector(arch="2L-c", **common),
        "MixtureOutlierDetector, flat": MixtureOutlierDetector(n_components=100, **common),
        "IsolationForest": IsolationForest(random_state=0),
    }
    print(f"\n{'detector':<34}{'AUROC':>8}{'outliers':>10}{'inliers':>9}{'seconds':>9}")
    for name, estimator in estimators.items():
        start = time.perf_counter()
        estimator.fit(train)
        seconds = time.perf_counter() - start
        auroc = roc_auc_score(inlier, estimator.decision_function(test))
        found = estimator.predict(test) == -1
        print(f"{name:<34}{auroc:8.3f}{found[~inlier].mean():10.0%}{found[inlier].mean():9.0%}{seconds:9.1f}")
    print("(outliers, inliers: share of them that lies below the detector's own threshold)")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="The estimators of dcgmm.sklearn beside scikit-learn's own.")
    parser.add_argument("--limit", type=int, help="at most so many images of each split")
    parser.add_argument("--epochs", type=int, help="of the mixtures; by default as many as they need")
    options = parser.parse_args()
    data = dcgmm.datasets.load("mnist_sample", limit=options.limit)
    densities(data, options.epochs)
    detectors(data, options.limit, options.epochs)


if __name__ == "__main__":
    main()
