"""Where an image is most outlying.

Shapes: N images, H W positions of a GMM layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dcgmm.model.stack import DCGMM
from dcgmm.outliers.localisation import centre_pixel
from dcgmm.outliers.scores import localising


@dataclass(frozen=True)
class WorstPosition:
    """The most outlying position of an image."""

    layer: str
    row: int  # of the pixel in its middle
    column: int
    standardised: float  # its log-likelihood, in training standard deviations from the training mean


def worst_positions(model: DCGMM, maps: Mapping[str, Tensor]) -> list[WorstPosition]:
    """The most outlying position of each image.

    Args:
        model: the model.
        maps: by GMM layer (N, H, W), standardised log-likelihoods, as in an `ImageReport`.
    """
    several = localising(maps)
    least = {name: values.flatten(1).min(1) for name, values in several.items()}
    worst = []
    for number in range(len(next(iter(maps.values())))):
        name = min(least, key=lambda layer: float(least[layer].values[number]))
        position = divmod(int(least[name].indices[number]), several[name].shape[2])
        row, column = centre_pixel(model, name, *position)
        worst.append(WorstPosition(name, row, column, float(least[name].values[number])))
    return worst
