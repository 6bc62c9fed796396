"""What a detector is made of: the scores of training images.

Shapes: N images, H W positions of a GMM layer.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dcgmm.distributed import ALONE, Processes
from dcgmm.images import Images
from dcgmm.model.stack import DCGMM
from dcgmm.outliers.batches import batches, gathered
from dcgmm.outliers.jackknife import without_each
from dcgmm.outliers.moments import Moments
from dcgmm.outliers.pixels import PixelMixture
from dcgmm.outliers.scores import layer_worst, localising, own_scores, position_maps

POOLED = 500_000  # positions of a layer, of images spread evenly, are enough for their distribution


def measured(
    model: DCGMM,
    positions: Mapping[str, Moments],
    pixels: PixelMixture | None,
    images: Images,
    observed: Tensor | None,
    batch_size: int | None,
    processes: Processes = ALONE,  # that share the images, where all of them are seen
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Scores but joint and auto (N,), each layer's worst position (N,), and positions of images spread evenly."""
    found, (mine, sharing) = dict[str, list[Tensor]](), processes.shared(images)
    first = sharing.rows(len(images)).start

    def parts() -> Iterator[dict[str, Tensor]]:
        nonlocal first
        for batch in batches(model, mine, observed, batch_size):
            scored = batch.scored(model)
            maps = position_maps(scored, positions)
            for name, values in localising(maps).items():
                step = -(-len(images) * values[0].numel() // POOLED)
                found.setdefault(name, []).append(values[-first % step :: step].flatten())
            first += len(batch.x)
            own = own_scores(model, scored, maps)
            own |= {} if pixels is None else {"pixels": pixels.log_prob(*batch)}
            yield own | {f"worst {name}": values for name, values in layer_worst(maps).items()}

    scores = sharing.concatenated(gathered(parts(), len(mine)))
    worst = {name: scores.pop(f"worst {name}") for name in found}
    return scores, worst, sharing.concatenated({name: torch.cat(values) for name, values in found.items()})


def left_out(
    model: DCGMM, positions: Mapping[str, Moments], images: Images
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scores but joint, pixels and auto (N,), and each layer's worst position (N,), by a model without that image."""
    others = enumerate(without_each(model, images))
    parts = [measured(other, positions, None, images[row : row + 1], None, 1)[:2] for row, other in others]
    return _joined([scores for scores, _ in parts]), _joined([worst for _, worst in parts])


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
