"""Where the threshold lies: at `c` deviations, or at a rate of false alarms."""

import logging

from torch import Tensor

from dcgmm.outliers import Detector
from dcgmm.outliers.options import DEFAULT_C, FAR
from dcgmm_cli.schema import OutlierOptions

log = logging.getLogger(__name__)


def c_of(detector: Detector, score: str, options: OutlierOptions) -> float:
    """Deviations from its training mean under which a score is an outlier's."""
    if options.false_alarms is None:
        return DEFAULT_C if options.c is None else options.c
    count = detector.known_calibration.scores[score].count
    if options.false_alarms * (count + 1) < 1:
        what = "of %d training images less than one is such a false alarm: the threshold is extrapolated"
        log.warning(f"outliers.false_alarms=%g: {what}", options.false_alarms, count)
    return detector.c_of(score, options.false_alarms)


def position_c(detector: Detector, options: OutlierOptions) -> float:
    """Deviations under which a position is outlined: c, or where the worst one of false alarms lies."""
    if options.false_alarms is None:
        return DEFAULT_C if options.c is None else options.c
    return -detector.known_calibration.scores["worst"].value(options.false_alarms)


def far_positions(detector: Detector, worst: Tensor) -> Tensor:  # (N,) -> (N,) bool
    """Whether images have a position that is far out, by their score `worst`."""
    if detector.calibration is None:
        return worst.new_zeros(worst.shape).bool()
    return detector.p_values("worst", worst) < FAR


def in_words(options: OutlierOptions, c: float) -> str:
    """How the threshold was set."""
    return f"c={c:g}" if options.false_alarms is None else f"false_alarms={options.false_alarms:g} (c={c:.3g})"
