"""Where an image is most outlying.

Shapes: N images, H W positions of a GMM layer.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dcgmm.model.stack import DCGMM
from dcgmm.outliers.localisation import centre_pixel
from dcgmm.outliers.scores import localising


@dataclass(frozen=True)
class WorstPosition:
    """The most outlying position of an image.

    Attributes:
        layer: the GMM layer's name.
        row: of the pixel in its middle.
        column: the same.
        standardised: its log-likelihood, in training standard deviations from the training mean.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> maps = {"gmm1": torch.zeros(1, 4, 4)}
        >>> maps["gmm1"][0, 1, 3] = -5.0
        >>> dcgmm.outliers.worst_positions(dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b")), maps)
        [WorstPosition(layer='gmm1', row=10, column=24, standardised=-5.0)]
    """

    layer: str
    row: int
    column: int
    standardised: float


def worst_positions(model: DCGMM, maps: Mapping[str, Tensor]) -> list[WorstPosition]:
    """The most outlying position of each image.

    Args:
        model: the model.
        maps: by GMM layer (N, H, W), standardised log-likelihoods, as in an `ImageReport`.

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("mnist_sample", limit=50)
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> images, detector = data.test.images[:1].clone(), dcgmm.Detector.fit(model, data.train.images)
        >>> images[0, :7, :7] = 255  # a defect in a corner
        >>> worst = dcgmm.outliers.worst_positions(model, detector.report(images).maps)[0]
        >>> worst.layer, worst.row, worst.column
        ('gmm1', 3, 3)
    """
    several = localising(maps)
    # Brought to the host once, not image by image.
    least = {name: [part.tolist() for part in values.flatten(1).min(1)] for name, values in several.items()}
    centre = functools.cache(lambda name, row, column: centre_pixel(model, name, row, column))
    worst = []
    for number in range(len(next(iter(maps.values())))):
        name = min(least, key=lambda layer: least[layer][0][number])
        values, places = least[name]
        row, column = centre(name, *divmod(places[number], several[name].shape[2]))
        worst.append(WorstPosition(name, row, column, values[number]))
    return worst
