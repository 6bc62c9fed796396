"""Images that are scored, batch by batch, whole or seen in part.

Shapes: N images, n of a batch, H W pixels, C channels.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from dcgmm.images import Images, as_images, as_mask, as_tensor, to_float
from dcgmm.model.observed import score_shares, seen_part
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM


class Batch(NamedTuple):
    """Some images as floats on the model's device."""

    x: Tensor  # (n, H, W, C), 0 where nothing was seen
    seen: Tensor | None  # (n, H, W, C) bool; None: all

    @classmethod
    def of(cls, model: DCGMM, images: Images, observed: Images | None = None) -> "Batch":
        """All of some images; arguments and errors as for `batches`."""
        if observed is None:
            return cls(_floats(model, as_images(images, model.input_shape)), None)
        pixels, seen = seen_part(images, observed, model.input_shape)
        return cls(_floats(model, pixels), seen.to(model.device))

    def scored(self, model: DCGMM) -> dict[str, Scored]:
        """Scores of every GMM layer, by the layer's name."""
        if self.seen is None:
            return model.score_floats(self.x)
        return score_shares(model.named_layers, model.seen_values(self.x), self.seen.to(self.x))


def batches(model: DCGMM, images: Images, observed: Images | None = None, size: int | None = None) -> Iterator[Batch]:
    """Images, `size` at a time, by default as many as memory bears.

    Args:
        model: that they are for.
        images: (N, H, W, C) as `as_images` takes them; what was not seen may be anything, NaN too.
        observed: (N, H, W) or (H, W), which pixels were seen; None: all.
        size: images at a time.

    Raises:
        InputError: the images or the mask do not fit the model, or the seen part holds values that are no pixels'.
    """
    shape = model.input_shape
    given = as_images(images, shape) if observed is None else as_tensor(images, shape)
    masks = None if observed is None else as_mask(observed, shape[:2], len(given))
    size = size or model.batch_size
    for start in range(0, len(given), size):
        rows = slice(start, start + size)
        if masks is None:
            yield Batch(_floats(model, given[rows]), None)
        else:
            yield Batch.of(model, given[rows], masks[rows])


def gathered(parts: Iterable[Mapping[str, Tensor]], count: int) -> dict[str, Tensor]:  # (n,) each -> (count,) each
    """Values of all batches, by name.

    They are copied into tensors that are there from the start: small ones that outlive their batch would keep the
    allocator from using the memory of the batch's large ones again.
    """
    found: dict[str, Tensor] = {}
    first = 0
    for batch in parts:
        size = 0
        for name, values in batch.items():
            if name not in found:
                found[name] = values.new_empty(count)
            size = len(values)
            found[name][first : first + size] = values
        first += size
    return found


def _floats(model: DCGMM, images: Tensor) -> Tensor:
    return to_float(images.to(model.device), model.dtype)
