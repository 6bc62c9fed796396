"""Whether training did any good: each GMM layer beside the values that it started from."""

import copy
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

from dcgmm.images import Images, as_images, image_batches
from dcgmm.model.stack import DCGMM

LIMIT = 1000  # images that this is judged by


class Progress(NamedTuple):
    """A GMM layer's mean log-likelihood (log-sum-exp, nats) of what it sees when training has ended."""

    start: float  # with the values that the layer started from
    end: float  # as it was trained


@torch.no_grad()
def progress(model: DCGMM, images: Images, seed: int) -> dict[str, Progress]:
    """What each GMM layer has gained, by its name.

    The layers under one change what it sees, and so its likelihood: both figures are of what it sees at the end.

    Args:
        model: trained, one (no batch_shape).
        images: (N, H, W, C), N >= 1, as `as_images` takes them; at most the first 1,000 are looked at.
        seed: of the start values.

    Raises:
        InputError: the images do not fit the model.

    Examples:
        >>> model = DCGMM.build((4, 4, 1), [{"type": "gmm", "components": 4}])
        >>> model.draw_start(torch.Generator().manual_seed(0))
        >>> found = progress(model, torch.rand(10, 4, 4, 1), seed=0)["gmm1"]
        >>> found.start == found.end
        True
    """
    chosen, before = as_images(images, model.input_shape)[:LIMIT], copy.deepcopy(model)
    before.draw_start(torch.Generator().manual_seed(seed))
    sums = {name: [0.0, 0.0] for name in model.gmms}
    for batch in image_batches(chosen, model.batch_size, model.dtype, model.device):
        for name, scored in model.score_floats(batch).items():
            at_start = before.gmms[name].score(scored.patches)
            for place, each in enumerate((at_start, scored)):
                sums[name][place] += float(each.log_prob.double().mean((-2, -1)).sum())
    return {name: Progress(*(total / len(chosen) for total in both)) for name, both in sums.items()}


def trouble(found: Mapping[str, Progress]) -> str | None:
    """Which layers are no better than their start values, in words; None where training went well."""
    worse = [
        f"{name} has a log-likelihood of {layer.end:.6g} nats, with its start values {layer.start:.6g}"
        for name, layer in found.items()
        if not math.isfinite(layer.end) or layer.end < layer.start
    ]
    return f"training did not go well: {'; '.join(worse)}" if worse else None
