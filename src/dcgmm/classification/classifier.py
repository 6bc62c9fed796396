"""What classifiers of images share: how they are asked, and what they are fitted to.

Shapes: N images, n of a batch, G classes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.images import Images, as_images, as_mask, image_batches
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.options import checked_seed

HOLDOUT = 0.1  # of each class's training images: what is left open is chosen on them


@dataclass(frozen=True)
class Classifier(ABC):
    """Tells which class an image is of, by what a model's layers say of it.

    A subclass says how, of a batch that the model has scored: `GenerativeClassifier` and `Readout` are such.

    Attributes:
        model: that scores the images.
        classes: labels that it was fitted to, ascending: the order of its G columns.

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> classifier = dcgmm.classification.fit_classifier(model, train.images, train.labels)
        >>> classifier.predict(train.images[:5]).shape, classifier.classes
        (torch.Size([5]), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9))
    """

    model: DCGMM
    classes: tuple[int, ...]

    @abstractmethod
    def of_scores(self, scored: Mapping[str, Scored]) -> Tensor:  # (n, G) float64
        """log p(c | x) of the images of a batch that the model has scored."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What was chosen for it, in built-ins."""

    def log_posterior(self, images: Images, observed: Images | None = None) -> Tensor:  # (N, G) float64
        """log p(c | x) of each image, (N, G), on the CPU.

        Args:
            images: (N, H, W, C) as `as_images` takes them.
            observed: (N, H, W) or (H, W), which pixels were seen, as for `DCGMM.score`; None: all.

        Raises:
            InputError: the images or the mask do not fit the model.
        """
        return log_posteriors({"": self}, images, observed)[""]

    def predict(self, images: Images, observed: Images | None = None) -> Tensor:  # (N,)
        """The most likely class's label of each image, (N,), on the CPU; arguments and errors as of `log_posterior`."""
        return torch.tensor(self.classes)[self.log_posterior(images, observed).argmax(-1)]


@torch.no_grad()
def log_posteriors(
    classifiers: Mapping[str, Classifier], images: Images, observed: Images | None = None
) -> dict[str, Tensor]:  # (N, G) float64 each
    """log p(c | x) by several classifiers of one model, which scores the images once; as `Classifier.log_posterior`.

    Args:
        classifiers: at least one, by any name.
        images: (N, H, W, C) as `as_images` takes them.
        observed: (N, H, W) or (H, W), which pixels were seen; None: all.

    Returns:
        (N, G) float64 each, on the CPU.

    Raises:
        InputError: the images or the mask do not fit the model.

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> given = model, train.images, train.labels
        >>> both = {name: dcgmm.classification.fit_classifier(*given, name) for name in ("generative", "readout")}
        >>> found = dcgmm.classification.log_posteriors(both, train.images[:5])
        >>> {name: each.shape for name, each in found.items()}
        {'generative': torch.Size([5, 10]), 'readout': torch.Size([5, 10])}
    """
    first, *_ = classifiers.values()
    found = {name: torch.empty(len(images), len(each.classes)).double() for name, each in classifiers.items()}
    for rows, scored in scored_batches(first.model, images, observed):
        for name, each in classifiers.items():
            found[name][rows] = each.of_scores(scored).cpu()
    return found


def scored_batches(
    model: DCGMM, images: Images, observed: Images | None = None
) -> Iterator[tuple[slice, dict[str, Scored]]]:
    """Scores of images batch by batch, and which images they are of.

    Raises:
        InputError: the images or the mask do not fit the model.
    """
    count, size = len(images), model.batch_size
    rows = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    if observed is None:
        batches = image_batches(as_images(images, model.input_shape), size, model.dtype, model.device)
        for row, batch in zip(rows, batches, strict=True):
            yield row, model.score_floats(batch)
    else:
        masks = as_mask(observed, model.input_shape[:2], count)
        for row in rows:
            yield row, model.score(images[row], masks[row])


@dataclass(frozen=True)
class Labelled:
    """Training images with their labels."""

    images: Tensor  # (N, H, W, C)
    classes: tuple[int, ...]  # labels that occur, ascending
    index: Tensor  # (N,), which of the classes each is of

    @classmethod
    def of(cls, model: DCGMM, images: Images, labels: Any) -> "Labelled":
        """Check images (N, H, W, C) and their labels (N,).

        Raises:
            InputError: they do not fit the model or each other, or there are fewer than two classes.
        """
        checked = as_images(images, model.input_shape)
        given = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        if given.shape != (len(checked),) or given.dtype.kind not in "biu":
            found = f"{'x'.join(map(str, given.shape))} of {given.dtype}"
            raise OptionError("labels", f"one whole number for each of {len(checked)} images", found)
        classes, index = torch.from_numpy(given.astype(np.int64)).unique(return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"labels must be of at least two classes, not of {len(classes)}")
        return cls(checked, tuple(classes.tolist()), index)

    def held_out(self, seed: int) -> Tensor:  # (N,) bool
        """The share `HOLDOUT` of each class, drawn by the seed: none of a class of few images."""
        generator = torch.Generator().manual_seed(checked_seed(seed))
        held = torch.zeros(len(self.index), dtype=torch.bool)
        for number in range(len(self.classes)):
            rows = (self.index == number).nonzero()[:, 0]
            held[rows[torch.randperm(len(rows), generator=generator)[: math.floor(HOLDOUT * len(rows))]]] = True
        return held

    def __getitem__(self, rows: Tensor) -> "Labelled":
        return Labelled(self.images[rows], self.classes, self.index[rows])

    @property
    def counts(self) -> Tensor:  # (G,)
        """Images of each class."""
        return self.index.bincount(minlength=len(self.classes))
