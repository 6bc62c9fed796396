"""How well every score of a detector tells known inliers from known outliers.

Shapes: n inliers, m outliers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dcgmm.images import Images
from dcgmm.outliers.detector import Detector
from dcgmm.outliers.metrics import Curve, Detection, Floats, detection_curve, judge


@dataclass(frozen=True)
class Evaluation:
    """All scores of known images, by name.

    Attributes:
        detector: whose scores they are.
        inliers: (n,) each.
        outliers: (m,) each.

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("mnist_sample", limit=50)
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> detector = dcgmm.Detector.fit(model, data.train.images)
        >>> evaluation = dcgmm.outliers.evaluate(detector, data.test.images, 255 - data.test.images)
        >>> evaluation.figures()["gmm1_log_prob"].auroc, evaluation.curve("joint", [1.0, 1.5]).inliers_kept.shape
        (1.0, (2,))
    """

    detector: Detector
    inliers: dict[str, Floats]
    outliers: dict[str, Floats]

    def figures(self) -> dict[str, Detection]:
        """Figures of every score."""
        return {name: judge(self.inliers[name], self.outliers[name]) for name in self.inliers}

    def curve(self, name: str, values: Sequence[float]) -> Curve:
        """Inliers kept and outliers removed by a score, with its threshold at each of these values of c (Figure 3)."""
        thresholds = np.array([self.detector.threshold(name, c) for c in values])
        return detection_curve(self.inliers[name], self.outliers[name], thresholds)

    def standardised(self, name: str) -> tuple[Floats, Floats]:  # (n,), (m,)
        """A score of the inliers (n,) and the outliers (m,), in training standard deviations from its training mean."""
        inside, outside = (
            self.detector.standardised(name, torch.from_numpy(scores[name])).numpy()
            for scores in (self.inliers, self.outliers)
        )
        return inside, outside


def evaluate(
    detector: Detector,
    inliers: Images,  # (n, H, W, C)
    outliers: Images,  # (m, H, W, C)
    batch_size: int | None = None,
    report: Callable[[int], None] | None = None,
    observed: tuple[Images, Images] | None = None,  # (n, H, W), (m, H, W)
) -> Evaluation:
    """Score known inliers and outliers.

    Args:
        detector: the detector.
        inliers: (n, H, W, C), images of the kind that the detector was fitted to, at least one.
        outliers: (m, H, W, C), images of another kind, at least one.
        batch_size: images at a time; by default as many as memory bears.
        report: called after every batch with the number of images that are scored.
        observed: (n, H, W) and (m, H, W), which pixels were seen of the inliers, and of the outliers; None: all. The
            detector must be one of such images: `Detector.seen_through`.

    Raises:
        InputError: the images have another shape than the model takes, or values outside [0, 1].

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("mnist_sample", limit=50)
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> detector = dcgmm.Detector.fit(model, data.train.images)
        >>> evaluation = dcgmm.outliers.evaluate(detector, data.test.images, data.test.images.flip(1)[:9])
        >>> evaluation.inliers["joint"].shape, evaluation.outliers["joint"].shape
        ((50,), (9,))
    """
    done = 0

    def scores(images: Images, seen: Images | None) -> dict[str, Floats]:
        nonlocal done
        parts: list[dict[str, Tensor]] = []
        for each in detector.reports(images, batch_size, seen):
            parts.append({name: values.cpu() for name, values in each.scores.items()})
            done += len(next(iter(parts[-1].values())))
            if report:
                report(done)
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    seen = observed or (None, None)
    return Evaluation(detector, scores(inliers, seen[0]), scores(outliers, seen[1]))
