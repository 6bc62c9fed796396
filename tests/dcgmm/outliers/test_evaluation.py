import numpy as np
import torch

from dcgmm.outliers import Detector, evaluate, judge
from tests.dcgmm.small import small_images, small_model


def test_every_score_of_known_images_is_judged() -> None:
    detector = Detector.fit(small_model(), small_images(40))
    inliers, outliers = small_images(15, seed=1), small_images(11, seed=2) // 4
    told: list[int] = []
    evaluation = evaluate(detector, inliers, outliers.numpy(), batch_size=6, report=told.append)
    assert told == [6, 12, 15, 21, 26]
    assert list(evaluation.inliers) == list(evaluation.outliers) == detector.names
    inside, outside = detector.scores(inliers), detector.scores(outliers)
    for name, figures in evaluation.figures().items():
        np.testing.assert_allclose(evaluation.inliers[name], inside[name], rtol=1e-6)
        assert figures == judge(evaluation.inliers[name], evaluation.outliers[name])

    kept, removed = evaluation.curve("joint", [-1.0, 2.0])
    threshold = detector.threshold("joint", 2.0)
    assert kept[1] == np.mean(evaluation.inliers["joint"] >= threshold)
    assert removed[1] == np.mean(evaluation.outliers["joint"] < threshold)
    assert kept[0] <= kept[1]
    standardised = evaluation.standardised("worst")[1]
    np.testing.assert_allclose(standardised, detector.standardised("worst", outside["worst"]), rtol=1e-5)
    assert torch.from_numpy(standardised).shape == (11,)
