"""Where images are outlying, in one map of an image, and how well that meets marked defects.

Shapes: N images, H W positions of a GMM layer, Y X pixels.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.ndimage import label
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.outliers.detector import Detector
from dcgmm.outliers.localisation import pixel_maps
from dcgmm.outliers.metrics import Floats, auroc

Masks = NDArray[np.bool_]
PRO_LIMIT = 0.3  # share of false positives up to which per-region overlap is integrated (Bergmann et al., 2021)
_NEIGHBOURS = np.ones((3, 3))  # pixels that touch at a corner are of one region


class Localisation(NamedTuple):
    """How well maps meet marked defects.

    Attributes:
        pixel_auroc: over all pixels.
        pro: per-region overlap, the area up to `PRO_LIMIT` of false positives, in [0, 1].
        f1: of pixels at the best threshold.
        f1_threshold: that: pixels at or above it are defects.

    Examples:
        >>> import dcgmm
        >>> import numpy as np
        >>> dcgmm.outliers.localise(np.array([[[0.0, 3.0, 1.0]]]), np.array([[[False, True, False]]]))
        Localisation(pixel_auroc=1.0, pro=1.0, f1=1.0, f1_threshold=3.0)
    """

    pixel_auroc: float
    pro: float
    f1: float
    f1_threshold: float


def outlying_maps(detector: Detector, maps: Mapping[str, Tensor]) -> Tensor:  # (N, H, W) each -> (N, Y, X)
    """How outlying each pixel is, -log10 of a p-value: 2 is a position that one of a hundred is as low as.

    The p-value of a position is its rank among all positions of its layer in calibration images. A pixel has the
    geometric mean over the positions that see it, and of the layers that say where the smallest; 0 where none sees it.

    Args:
        detector: the detector.
        maps: (N, H, W) each, standardised log-likelihoods, by GMM layer, as in its `ImageReport`.

    Returns:
        (N, Y, X), of the images' pixels.

    Raises:
        InputError: the detector was measured by an earlier version.

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("mnist_sample", limit=50)
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> images, detector = data.test.images[:1].clone(), dcgmm.Detector.fit(model, data.train.images)
        >>> images[0, :7, :7] = 255  # a defect in a corner
        >>> outlying = dcgmm.outliers.outlying_maps(detector, detector.report(images).maps)
        >>> bool(outlying[0, :7, :7].min() > outlying[0, 7:, 7:].max())
        True
    """
    log_p = detector.known_calibration.position_log_p(maps)
    found = [pixel_maps(detector.model, name, each) for name, each in log_p.items()]
    least = torch.stack([each.nan_to_num(nan=math.inf) for each in found]).amin(0)
    return torch.where(least.isinf() & (least > 0), 0.0, -least / math.log(10))


def localise(outlying: Floats, masks: Masks) -> Localisation:  # (N, Y, X), (N, Y, X)
    """Figures of maps, high where images are outlying, against masks of defects, as MVTec AD and anomalib define them.

    Args:
        outlying: (N, Y, X), as `outlying_maps` gives them.
        masks: (N, Y, X) truth values.

    Raises:
        OptionError: all pixels are marked, or none.

    Examples:
        >>> import dcgmm
        >>> import numpy as np
        >>> outlying, defect = np.array([[[0.0, 3.0, 1.0, 2.0]]]), np.array([[[False, True, True, False]]])
        >>> figures = dcgmm.outliers.localise(outlying, defect)
        >>> figures.pixel_auroc, round(figures.f1, 2), figures.f1_threshold
        (0.75, 0.8, 1.0)

    Source: Bergmann et al., The MVTec Anomaly Detection Dataset, 2021, section 5.
    """
    if masks.all() or not masks.any():
        given = "all" if masks.all() else "none"
        raise OptionError("masks", "such that some pixels are marked as defects, and some not", given)
    f1, threshold = best_f1(outlying, masks)
    return Localisation(auroc(-outlying[~masks], -outlying[masks]), per_region_overlap(outlying, masks), f1, threshold)


def per_region_overlap(outlying: Floats, masks: Masks, limit: float = PRO_LIMIT) -> float:  # (N, Y, X), (N, Y, X)
    """Area under the mean share of each region that is found, against the share of all other pixels that is.

    Regions are connected parts of a mask, corners included. The area up to `limit` of false positives is taken, with
    straight lines between thresholds, and divided by it.
    """
    weights = np.zeros(masks.shape)
    regions = 0
    for row, mask in enumerate(masks):
        labels, count = label(mask, _NEIGHBOURS)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        weights[row] = np.where(mask, 1 / areas[labels], 0)
        regions += count
    order, last = _descending(outlying)
    found = np.cumsum(weights.ravel()[order])[last] / regions
    false = np.cumsum(~masks.ravel()[order])[last] / (~masks).sum()
    false, found = np.concatenate([[0.0], false]), np.concatenate([[0.0], found])
    inside = false <= limit
    x = np.append(false[inside], limit)
    y = np.append(found[inside], np.interp(limit, false, found) if inside.sum() < len(false) else found[-1])
    return float(trapezoid(y, x) / limit)


def best_f1(outlying: Floats, masks: Masks) -> tuple[float, float]:  # (N, Y, X), (N, Y, X)
    """The largest F1 of any threshold, and that: pixels at or above it are taken for defects."""
    order, last = _descending(outlying)
    hits = np.cumsum(masks.ravel()[order])[last]
    f1 = 2 * hits / (last + 1 + masks.sum())
    best = int(f1.argmax())
    return float(f1[best]), float(outlying.ravel()[order[last[best]]])


def _descending(values: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
    """Order from the largest, and places in it of the last of equal values."""
    flat = values.ravel()
    order = np.argsort(-flat, kind="stable")
    ordered = flat[order]
    return order, np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
