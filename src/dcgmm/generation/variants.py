"""Variants of images: drawn anew below a GMM layer whose responsibilities for the images are the control signal.

Shapes: N images, H W positions of the layer, K its components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation.options import SamplingOptions
from dcgmm.generation.quality import nearest, rows
from dcgmm.images import Images, as_images, image_batches
from dcgmm.model.stack import DCGMM


@torch.no_grad()
def control_signal(model: DCGMM, images: Images, layer: str | None = None) -> Tensor:  # (N, H, W, K)
    """What variants of images are drawn from: their responsibilities in a GMM layer.

    `sample(model, N, start=layer, weights=signal)` draws one variant of each: the layer's components by these weights,
    everything below anew. A variant of the top layer's signal shares its component with the image, one of a lower
    layer's also what lies where.

    Args:
        model: the model, one (no batch_shape).
        images: (N, H, W, C) as `as_images` takes them.
        layer: the GMM layer's name; None: the last layer.

    Returns:
        (N, H, W, K), at the H W positions of the layer.

    Raises:
        InputError: there is no such layer, the images do not fit the model, or the model is several.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> images = dcgmm.datasets.load("mnist_sample", limit=5).test.images
        >>> signal = dcgmm.generation.control_signal(model, images)
        >>> dcgmm.sample(model, 5, weights=signal, seed=1).images.shape
        torch.Size([5, 28, 28, 1])
    """
    if model.batch_shape:
        raise InputError(f"variants take one model, this one holds {list(model.batch_shape)} side by side")
    name = layer or list(model.gmms)[-1]
    if name not in model.gmms:
        raise OptionError("start", f"a GMM layer of the model ({', '.join(model.gmms)})", name, SamplingOptions)
    given = as_images(images, model.input_shape)
    if not len(given):
        raise OptionError("images", "at least one image", "none")
    batches = image_batches(given, model.batch_size, model.dtype, model.device)
    return torch.cat([model.score_floats(x, up_to=name)[name].responsibilities for x in batches])


@dataclass(frozen=True)
class Nearness:
    """Mean Euclidean distance from images, over all pixels in [0, 1].

    Attributes:
        variant: to their variants.
        nearest_training_image: to the nearest image that the model was trained on.
        unrelated_sample: to samples that have nothing to do with them.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> images = torch.zeros(2, 28, 28, 1)
        >>> dcgmm.generation.nearness(images, variants=images + 0.5, unrelated=images + 1, training=images)
        Nearness(variant=14.0, nearest_training_image=0.0, unrelated_sample=28.0)
    """

    variant: float
    nearest_training_image: float
    unrelated_sample: float


def nearness(
    originals: Tensor,  # (N, H, W, C)
    variants: Tensor,  # (N, H, W, C), one of each
    unrelated: Tensor,  # (N, H, W, C)
    training: Tensor,  # (M, H, W, C)
) -> Nearness:
    """How far variants lie from their originals, beside what else lies near.

    Args:
        originals: (N, H, W, C), uint8 or float.
        variants: (N, H, W, C), one of each.
        unrelated: (N, H, W, C), samples that have nothing to do with them.
        training: (M, H, W, C), what the model was trained on.

    Examples:
        >>> import dcgmm
        >>> data = dcgmm.datasets.load("mnist_sample", limit=50)
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> images, signal = data.test.images, dcgmm.generation.control_signal(model, data.test.images)
        >>> variants, unrelated = (dcgmm.sample(model, 50, weights=weights).images for weights in (signal, None))
        >>> found = dcgmm.generation.nearness(images, variants, unrelated, data.train.images)
        >>> found.nearest_training_image < found.unrelated_sample
        True
    """
    given = rows(originals)
    return Nearness(
        variant=float((given - rows(variants)).norm(dim=1).mean()),
        nearest_training_image=float(nearest(given, rows(training))[0].mean()),
        unrelated_sample=float((given - rows(unrelated)).norm(dim=1).mean()),
    )
