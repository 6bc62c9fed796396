"""A model as a clustering: each image belongs to the most likely component of a GMM layer, at one of its positions.

Shapes: N images, K components.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.images import Images, as_images, image_batches
from dcgmm.model.stack import DCGMM


@dataclass(frozen=True)
class Assigned:
    """What one position of a GMM layer says of images, on the CPU.

    Attributes:
        layer: the GMM layer's name.
        position: row and column.
        labels: (N,), the most likely component.
        responsibilities: (N, K).

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> found = dcgmm.clustering.assign(model, dcgmm.datasets.load("mnist_sample", limit=5).test.images)
        >>> found.layer, found.position, found.responsibilities.shape
        ('gmm2', (0, 0), torch.Size([5, 36]))
    """

    layer: str
    position: tuple[int, int]
    labels: Tensor
    responsibilities: Tensor


@torch.no_grad()
def assign(
    model: DCGMM,
    images: Images,
    layer: str | None = None,
    position: Sequence[int] | None = None,
) -> Assigned:
    """Most likely component of a GMM layer, and the responsibilities, for each image.

    Args:
        model: the model.
        images: (N, H, W, C), uint8 or float in [0, 1].
        layer: the GMM layer's name; None is the last.
        position: row and column among the layer's positions; may be left out where it has one.

    Raises:
        OptionError: there is no such layer or position, or the layer has several and none is given.
        InputError: the images have another shape than the model takes, or values outside [0, 1].

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> images = dcgmm.datasets.load("mnist_sample", limit=5).test.images
        >>> dcgmm.clustering.assign(model, images, layer="gmm1", position=[1, 2]).labels.shape
        torch.Size([5])
    """
    name, (row, column) = choose_position(model, layer, position)
    checked = as_images(images, model.input_shape)
    scores = torch.empty(len(checked), model.gmms[name].components, dtype=model.dtype)
    done = 0
    for batch in image_batches(checked, model.batch_size, model.dtype, model.device):
        found = model.score_floats(batch)[name].component_scores[:, row, column]
        scores[done : done + len(batch)] = found
        done += len(batch)
    return Assigned(name, (row, column), scores.argmax(-1), scores.softmax(-1))


def choose_position(
    model: DCGMM, layer: str | None = None, position: Sequence[int] | None = None
) -> tuple[str, tuple[int, int]]:
    """Name of the GMM layer, and (row, column) of its position, that cluster the images.

    Raises:
        OptionError: there is no such layer or position, or the layer has several and none is given.
    """
    name = layer or list(model.gmms)[-1]
    if name not in model.gmms:
        raise OptionError("layer", f"one of {', '.join(model.gmms)}", name)
    height, width = model.gmms[name].output_shape.height, model.gmms[name].output_shape.width
    if position is None and (height, width) == (1, 1):
        return name, (0, 0)
    if position is None:
        single = [other for other, gmm in model.gmms.items() if gmm.output_shape.positions == 1]
        hint = f" ({single[-1]} has one)" if single else ""
        rule = (
            f"[row,column] of one of the {height}x{width} positions of {name}, each with a cluster of its own{hint}, "
            f"as in [{height // 2},{width // 2}]"
        )
        raise OptionError("position", rule, None)
    if len(position) != 2 or not (0 <= position[0] < height and 0 <= position[1] < width):
        rule = f"[row,column] of a position of {name}, from [0,0] to [{height - 1},{width - 1}]"
        raise OptionError("position", rule, list(position))
    return name, (position[0], position[1])
