"""Other detectors on the split and images of a trained run: the same inliers, outliers and figures.

    python experiments/outliers/peers.py RUN [RUN ...] [--seed 0] [--exponent 1] [--output peers.json]

RUN is a directory that `dcgmm train` wrote with dataset.classes=...; its other classes are the outliers. All scores
are high for inliers, all methods see the run's training images only, as vectors of pixels in [0, 1] raised to
--exponent (0.5: square roots, as `2L-outliers` and the score `pixels` take them).
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

import dcgmm
from dcgmm.outliers.metrics import judge

Points = NDArray[np.float32]  # (N, F)
Scores = NDArray[np.float64]  # (N,)
Scorer = Callable[[Points], Scores]

COMPONENTS = 50
MIXTURE = 25


def nearest_neighbour(train: Points, seed: int) -> Scorer:
    """Minus the distance to the nearest training image."""
    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train)
    return lambda x: -index.kneighbors(x)[0][:, 0]


def pca_reconstruction(train: Points, seed: int) -> Scorer:
    """Minus the squared error of reconstruction from 50 principal components."""
    pca = PCA(COMPONENTS, random_state=seed).fit(train)
    return lambda x: -np.square(x - pca.inverse_transform(pca.transform(x))).sum(1).astype(np.float64)


def diagonal_mixture(train: Points, seed: int) -> Scorer:
    """Log-likelihood of 25 diagonal Gaussians on pixels, variances at least 0.05 as in the model."""
    mixture = GaussianMixture(MIXTURE, covariance_type="diag", reg_covar=0.05, random_state=seed).fit(train)
    return lambda x: mixture.score_samples(x)


def full_mixture(train: Points, seed: int) -> Scorer:
    """Log-likelihood of 25 full Gaussians on 50 whitened principal components."""
    pca = PCA(COMPONENTS, whiten=True, random_state=seed).fit(train)
    # In double precision: a component of a single image has a covariance that single precision takes for none.
    mixture = GaussianMixture(MIXTURE, covariance_type="full", random_state=seed)
    mixture.fit(pca.transform(train).astype(np.float64))
    return lambda x: mixture.score_samples(pca.transform(x).astype(np.float64))


def isolation_forest(train: Points, seed: int) -> Scorer:
    """Mean path length in 200 isolation trees."""
    forest = IsolationForest(n_estimators=200, random_state=seed).fit(train)
    return lambda x: forest.score_samples(x)


PEERS = {
    "nearest neighbour": nearest_neighbour,
    "PCA(50) reconstruction": pca_reconstruction,
    "diagonal mixture, 25": diagonal_mixture,
    "PCA(50) whitened, full mixture, 25": full_mixture,
    "isolation forest, 200": isolation_forest,
}


def points(images: Tensor) -> Points:  # (N, H, W, C) uint8 -> (N, F) in [0, 1]
    return (images.flatten(1).numpy() / np.float32(255)).astype(np.float32)


def split(run: Path) -> tuple[str, Points, Points, Points]:
    """Training images, inliers and outliers of a run."""
    trained = dcgmm.load_run(run)
    options = trained.config["dataset"] | {"root": None}  # where data sets are kept here
    if options["classes"] is None:
        raise SystemExit(f"{run} was trained on all classes: none is left as outliers")
    data = dcgmm.datasets.load(**options)
    others = [label for label in range(len(trained.class_names)) if label not in data.classes]
    rest = dcgmm.datasets.load(**options | {"classes": others})
    name = f"{data.name} {','.join(map(str, data.classes))} against {','.join(map(str, others))}"
    return name, points(data.train.images), points(data.test.images), points(rest.test.images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exponent", type=float, default=1.0)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    settings = {"seed": arguments.seed, "exponent": arguments.exponent}
    for run in arguments.runs:
        name, *images = split(run)
        train, inliers, outliers = (np.power(each, np.float32(arguments.exponent)) for each in images)
        print(f"\n{name}: {len(train)} training images, {len(inliers)} inliers, {len(outliers)} outliers\n")
        print("| method | AUROC | AP inliers | AP outliers | FPR at 95% | seconds |\n|---|---|---|---|---|---|")
        results[name] = {}
        for peer in arguments.peers:
            started = time.perf_counter()
            score = PEERS[peer](train, arguments.seed)
            figures = judge(score(inliers), score(outliers))
            seconds = time.perf_counter() - started
            results[name][peer] = {**figures._asdict(), "seconds": seconds}
            print(f"| {peer} | " + " | ".join(f"{value:.3f}" for value in figures) + f" | {seconds:.0f} |", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({**settings, "splits": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
