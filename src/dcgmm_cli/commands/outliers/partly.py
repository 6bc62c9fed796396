"""Images of which only a part was seen, and the detectors that know how training images score that are seen so.

Shapes: N images, H W pixels, C channels, U different masks.
"""

import itertools
import logging
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dcgmm.datasets.images import ImageBatch
from dcgmm.errors import InputError
from dcgmm.outliers import Detector
from dcgmm_cli.masks import read_observed
from dcgmm_cli.schema import OutliersConfig
from dcgmm_cli.trained import OpenedRun

log = logging.getLogger(__name__)

REFERENCE, LEAST = 5000, 200  # training images that are seen through all masks together, and at least through each
UNSEEN = "nothing of it was seen"


class Part(NamedTuple):
    """Images with the detector that judges them."""

    batch: ImageBatch
    detector: Detector
    observed: Tensor | None  # (n, H, W) bool; None: all was seen


class Masked(NamedTuple):
    """What is seen of images, and by which detector each is judged."""

    observed: Tensor  # (N, H, W) bool
    detectors: list[Detector]
    which: list[int]  # of the detectors, by image


def masked(images: Tensor, config: OutliersConfig, whole: Detector, opened: OpenedRun) -> Masked:
    """Images (N, H, W, C) as `mask` has them seen. Random masks are of one kind: one detector serves them all.

    Raises:
        InputError: the mask cannot be read or does not fit, or the run's training images are not at hand.
    """
    assert config.mask is not None
    observed = read_observed(
        config.mask, images, share=config.share, seed=config.seed, resize=opened.run.preparation.resize
    )
    seen = observed.flatten(1).any(1)
    if not bool(seen.any()):
        raise InputError(f"mask={config.mask}: everything is missing; leave something to be seen")
    training = opened.data().train.images
    chosen = torch.randperm(len(training), generator=torch.Generator().manual_seed(config.seed))
    if config.mask == "random":
        detector = whole.seen_through(training[chosen[:REFERENCE]], observed[seen], config.batch_size)
        return Masked(observed, [detector], [0] * len(observed))
    masks, which = observed.flatten(1).unique(dim=0, return_inverse=True)
    reference = training[chosen[: max(LEAST, REFERENCE // len(masks))]]
    log.info("measuring the scores of %d training images through each of %d masks", len(reference), len(masks))
    detectors = [
        whole.seen_through(reference, mask.view(observed.shape[1:]), config.batch_size)
        if bool(mask.any()) and not bool(mask.all())
        else whole  # judges by all, or nothing
        for mask in masks
    ]
    return Masked(observed, detectors, which.tolist())


def one_detector(images: Tensor, config: OutliersConfig, whole: Detector, opened: OpenedRun) -> tuple[Detector, Tensor]:
    """The detector of images that are all seen through one mask, or random ones, and what is seen of each.

    Raises:
        InputError: they are not, or as for `masked`.
    """
    found = masked(images, config, whole, opened)
    if len(found.detectors) > 1:
        several = f"mask={config.mask} holds {len(found.detectors)} masks"
        raise InputError(f"{several}: without input= give one for all images")
    return found.detectors[0], found.observed


def parts_of(batch: ImageBatch, config: OutliersConfig, whole: Detector, opened: OpenedRun) -> Iterator[Part]:
    """Images in their order, as many at a time as follow each other under one mask, at most `batch_size`.

    Raises:
        InputError: as for `masked`.
    """
    if not batch.names:
        return iter([Part(batch, whole, None)])
    found = masked(batch.images, config, whole, opened)
    blind = ~found.observed.flatten(1).any(1)
    failures = [(name, UNSEEN) for name, unseen in zip(batch.names, blind.tolist(), strict=True) if unseen]

    def parts() -> Iterator[Part]:
        others = ImageBatch([], batch.images[:0], [*batch.failures, *failures], batch.several, batch.stretched)
        yield Part(others, whole, None)
        seen = (row for row in range(len(batch.names)) if not blind[row])
        for which, rows in itertools.groupby(seen, key=found.which.__getitem__):
            for some in torch.tensor(list(rows)).split(config.batch_size or whole.model.batch_size):
                few = ImageBatch([batch.names[row] for row in some], batch.images[some], [], [])
                yield Part(few, found.detectors[which], found.observed[some])

    return parts()
