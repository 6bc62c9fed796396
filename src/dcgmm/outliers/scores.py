"""Outlier scores of images (section 3.2.2): all are high for inliers, none ever sees an outlier before it is scored.

Two for each GMM layer, named <layer>_<score>, each the mean of a map over the layer's positions:

    log_prob       log-likelihood, log-sum-exp over the components (nats): the paper's score, in the top layer
    standardised   log_prob in training standard deviations from its training mean, position by position

and six for the whole model:

    ratio    log-likelihood ratio of what the top layer sees, with and without it (`log_ratio`)
    joint    the smaller of the top layer's standardised score and the ratio, both scaled by their mean and deviation on
             the training images
    pixels   log-likelihood of the pixels, as the top components' training images have them (`PixelMixture`)
    worst    the smallest standardised log-likelihood of a position, in the layers with several positions if there are
             such: what a small defect lowers
    worst_region  the same for the mean of a window of an eighth of a layer's height and width: what a defect lowers
             that is larger, but faint
    auto     logarithm of the smallest p-value of joint, pixels, worst_region and the worst position of each layer that
             says where, each calibrated by its distribution over training images (`dcgmm.outliers.calibration`)

`pixels` is left out where positions are pooled (`Detector.fit`).

How likely an image looks to the lower layers says mostly how plain it is: a single stroke is likely whatever it means.
The ratio asks about the arrangement alone: how much better does the top layer tell which lower component is where than
that layer's overall frequencies do? An image of likely parts in an order of no kind that training images have loses
there, however plain it is. The likelihood of the pixels looks at the image as a whole, with dark structure
spread, and knows no parts. In a model of one GMM layer ratio and joint are the standardised score.

Of an image that was seen in part, each is the score of that part: exactly in the lowest GMM layer and for the pixels,
where the marginal density is taken, approximately above, where a position counts with the share of it that was seen
(`dcgmm.model.observed`, `log_ratio`). What they are compared with must be training images of which the same part was
seen: `Detector.seen_through`. A position that was not seen at all has a standardised log-likelihood of 0.

Shapes: N images, H W positions of a GMM layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dcgmm.errors import OptionError
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.moments import Moments, standardise
from dcgmm.outliers.ratio import log_ratio

REGIONS = 8  # a region is so many times smaller than an image, down and across


class Scores(dict[str, Tensor]):
    """Scores of images, (N,) each, by name; of a name that is none it says which there are.

    Examples:
        >>> Scores(joint=torch.zeros(3))["jiont"]
        Traceback (most recent call last):
        dcgmm.errors.OptionError: score must be one of joint, not jiont
    """

    def __missing__(self, name: str) -> Tensor:
        raise OptionError("score", f"one of {', '.join(self)}", name)


@dataclass(frozen=True)
class ImageReport:
    """What a detector says of some images.

    Examples:
        >>> import dcgmm
        >>> model, images = dcgmm.DCGMM.build((8, 8, 1), [{"type": "gmm", "components": 4}]), torch.rand(50, 8, 8, 1)
        >>> dcgmm.Detector.fit(model, images).report(images[:3]).maps["gmm1"].shape
        torch.Size([3, 8, 8])
    """

    scores: Scores  # (N,) float64
    maps: dict[str, Tensor]  # (N, H, W) float64, standardised log-likelihood by GMM layer


def position_maps(scored: Mapping[str, Scored], positions: Mapping[str, Moments]) -> dict[str, Tensor]:  # (N, H, W)
    """Standardised log-likelihood of each GMM layer at each position, float64."""
    return {name: standardise(layer.log_prob, positions[name]) for name, layer in scored.items()}


def own_scores(
    model: DCGMM, scored: Mapping[str, Scored], maps: Mapping[str, Tensor]
) -> dict[str, Tensor]:  # (N,) each
    """The scores that need no other image's: those of each layer, the ratio, and the worst position."""
    scores: dict[str, Tensor] = {}
    for name, layer in scored.items():
        scores[f"{name}_log_prob"] = layer.log_prob.double().mean((-2, -1))
        scores[f"{name}_standardised"] = maps[name].mean((-2, -1))
    if len(scored) == 1:
        scores["ratio"] = scores[f"{next(iter(scored))}_standardised"]
    else:
        *_, under, top = model.gmms.values()
        seen = list(scored.values())[-1]
        ratio = log_ratio(top, under.components, seen.patches, seen.shares)
        scores["ratio"] = ratio.double().mean((-2, -1))
    scores["worst"] = torch.stack(list(layer_worst(maps).values())).amin(0)
    scores["worst_region"] = torch.stack([_worst_region(each) for each in localising(maps).values()]).amin(0)
    return scores


def layer_worst(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:  # (N, H, W) each -> (N,) each
    """The smallest value of each layer that says where."""
    return {name: values.flatten(1).amin(1) for name, values in localising(maps).items()}


def _worst_region(values: Tensor) -> Tensor:  # (N, H, W) -> (N,)
    height, width = region(values.shape[1:])
    # Down, then across: so many values for each position, not their product.
    rows = avg_pool2d(values.unsqueeze(1), (height, 1), 1)
    return avg_pool2d(rows, (1, width), 1).flatten(1).amin(1)


def region(shape: Sequence[int]) -> tuple[int, ...]:
    """Height and width in positions of a region, of a layer's."""
    return tuple(-(-side // REGIONS) for side in shape)


def localising(maps: Mapping[str, Tensor]) -> Mapping[str, Tensor]:  # (N, H, W) each
    """Maps of the layers with several positions, or of all, if there are no such: a single one says not where."""
    return {name: values for name, values in maps.items() if values.shape[1:].numel() > 1} or maps


def joint(scores: Mapping[str, Tensor], moments: Mapping[str, Moments], top: str) -> Tensor:  # (N,)
    """The smaller of the top layer's standardised score and the ratio, both scaled."""
    parts = [standardise(scores[name], moments[name]) for name in (f"{top}_standardised", "ratio")]
    return torch.minimum(*parts)
