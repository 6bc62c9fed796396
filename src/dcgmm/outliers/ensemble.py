"""Several models that judge together.

Shapes: N images, H W pixels, C channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.images import Images
from dcgmm.outliers.batches import batches, gathered
from dcgmm.outliers.calibration import Distribution
from dcgmm.outliers.detector import Detector
from dcgmm.outliers.moments import Moments
from dcgmm.outliers.options import VOTE
from dcgmm.outliers.scores import ImageReport, Scores

VOTES_BY = "ratio"  # chosen by tasks inside training classes (experiments/benchmark)


@dataclass(frozen=True)
class Ensemble(Detector):
    """A detector with one more score, `vote`: what it and others, of the same images, say together.

    Each votes by `ratio` (in a model of one GMM layer its log-likelihood): by the logarithm of its p-value among
    the training images. The mean of these is Fisher's statistic (divided by -2 M, of M votes). So a model of parts says
    whether they are arranged as usual, a flat one whether the image as a whole is; p-values make both comparable, also
    where a score has a long tail among inliers.

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample", limit=60).train.images
        >>> models = [dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch(name)) for name in ("2L-b", "1L")]
        >>> ensemble = dcgmm.outliers.Ensemble.of([dcgmm.Detector.fit(model, train) for model in models], train)
        >>> ensemble.scores(train[:3])["vote"].shape
        torch.Size([3])

    Source: Fisher, Statistical Methods for Research Workers, 1932, section 21.1.
    """

    members: tuple[Detector, ...] = ()

    def __post_init__(self) -> None:
        if not self.members:  # as by a detector's own ways of making one
            raise InputError("an ensemble is made of detectors, by Ensemble.of, and judges whole images")

    @classmethod
    @torch.no_grad()
    def of(cls, detectors: Sequence[Detector], images: Images, batch_size: int | None = None) -> Self:
        """Detectors together.

        Args:
            detectors: each of the same training images; maps and all scores but `vote` are those of the first.
            images: (N, H, W, C), these training images, N >= 1.
            batch_size: images at a time; by default as many as memory bears.

        Raises:
            InputError: the models take images of different shapes, there are no images, or an earlier version measured
                one of the detectors.
        """
        first = detectors[0]
        for other in detectors:
            if other.model.input_shape != first.model.input_shape:
                shapes = " and ".join(str(each.model.input_shape) for each in (first, other))
                raise InputError(f"detectors that vote must see images of one shape; these see {shapes}")
        calibration = first.known_calibration
        found = cls(first.model, first.positions, first.images, first.pixels, calibration, tuple(detectors))
        votes = gathered(found._votes(images, batch_size), len(images))[VOTE]
        calibrated = replace(calibration, scores=calibration.scores | {VOTE: Distribution.of(votes)})
        return replace(found, images=first.images | {VOTE: Moments.of(votes)}, calibration=calibrated)

    def _votes(self, images: Images, batch_size: int | None) -> Iterator[dict[str, Tensor]]:
        for batch in batches(self.model, images, size=batch_size):
            yield {VOTE: self.report_floats(*batch).scores[VOTE]}

    def report_floats(self, x: Tensor, seen: Tensor | None = None) -> ImageReport:  # (N, H, W, C)
        """As a detector's, with the vote."""
        reports = [member.report_floats(x, seen) for member in self.members]
        said = [_log_p(member, report) for member, report in zip(self.members, reports, strict=True)]
        return replace(reports[0], scores=Scores(reports[0].scores | {VOTE: torch.stack(said).mean(0)}))

    @property
    def names(self) -> list[str]:
        """All scores."""
        return [*super().names, VOTE]


def _log_p(detector: Detector, report: ImageReport) -> Tensor:  # (N,)
    return detector.known_calibration.scores[VOTES_BY].log_p_values(report.scores[VOTES_BY])
