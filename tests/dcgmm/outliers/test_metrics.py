import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from dcgmm.outliers.metrics import auroc, detection_curve, false_positive_rate, judge


def scores(case: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    if case == "continuous":
        return rng.normal(1, 1, 300), rng.normal(0, 2, 170)
    if case == "many ties":
        return rng.integers(2, 8, 300).astype(float), rng.integers(0, 5, 170).astype(float)
    if case == "all equal":
        return np.zeros(7), np.zeros(5)
    return np.array([1.0]), np.array([2.0])  # one of each, in the wrong order


@pytest.mark.parametrize("case", ["continuous", "many ties", "all equal", "one of each"])
def test_figures_are_those_of_scikit_learn(case: str) -> None:
    inliers, outliers = scores(case)
    truth = np.r_[np.ones(len(inliers)), np.zeros(len(outliers))]
    joined = np.r_[inliers, outliers]
    figures = judge(inliers, outliers)
    assert figures.auroc == pytest.approx(roc_auc_score(truth, joined), abs=1e-12)
    assert figures.average_precision_inliers == pytest.approx(average_precision_score(truth, joined), abs=1e-12)
    assert figures.average_precision_outliers == pytest.approx(average_precision_score(1 - truth, -joined), abs=1e-12)
    false, true, _ = roc_curve(truth, joined, drop_intermediate=False)
    assert figures.false_positive_rate_95 == pytest.approx(false[true >= 0.95 - 1e-12][0], abs=1e-12)


def test_auroc_of_known_gaussians() -> None:
    # P(X > Y) of independent normals is Phi(difference of means / root of the sum of variances): here Phi(1).
    rng = np.random.default_rng(0)
    figures = auroc(rng.normal(5, 3, 100_000), rng.normal(0, 4, 100_000))
    assert figures == pytest.approx(0.841345, abs=3e-3)


def test_false_positive_rate_keeps_exactly_what_is_needed() -> None:
    inliers = np.arange(100.0)  # 95 of them are at least 5
    assert false_positive_rate(inliers, np.array([4.9, 5.0, 60.0, -1.0])) == 0.5
    assert false_positive_rate(inliers, np.array([0.0, 200.0]), kept=1.0) == 1.0


def test_curve_counts_both_sides_of_each_threshold() -> None:
    curve = detection_curve(np.array([1.0, 2.0, 3.0, 3.0]), np.array([0.0, 2.0]), np.array([-1.0, 2.0, 3.5]))
    assert curve.inliers_kept.tolist() == [1, 0.75, 0]
    assert curve.outliers_removed.tolist() == [0, 0.5, 1]


def test_what_has_no_score_is_no_inlier() -> None:
    found = detection_curve(np.array([1.0, np.nan]), np.array([np.nan, 2.0, np.nan]), np.array([-9.0, 1.5]))
    assert found.inliers_kept.tolist() == [0.5, 0.0]
    assert found.outliers_removed.tolist() == [2 / 3, 2 / 3]
