"""Judges of data sets, trained when they are first wanted and kept in the user's cache."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.files import DAY, sweep_temporary, write_whole
from dcgmm.generation.classifier import RECIPE, Examples, Judge, examples_of, shapes, train_judge

log = logging.getLogger(__name__)

VERSION = 1  # of what training computes: raised when the code of `classifier` gives other weights


def judge_of(
    name: str,
    images: Tensor,  # (N, H, W, C)
    labels: Tensor,  # (N,)
    *,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> Judge:
    """The judge of a data set: a classifier of its training images.

    The same images, seed and version of torch have the same judge, which is kept in the user's cache.

    Args:
        name: of the data set, for the file's name.
        images: training images, uint8 or float in [0, 1]: at most 20,000 of them are used, the first of each class.
        labels: their classes.
        seed: of training.
        report: called with the number of training steps done, and of all, where it has to be trained.

    Raises:
        InputError: there are too few images or classes, or the images are too small.

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample").train
        >>> judge_of("mnist_sample", train.images, train.labels).features(train.images[:5]).shape
        torch.Size([5, 64])
    """
    examples = examples_of(images.cpu(), labels.cpu())
    path = _place(name, examples, seed)
    found = None if path is None else _kept(path, examples)
    if found is not None:
        return found
    log.info("training a judge of %s on %d images", name, len(examples.images))
    judge = train_judge(examples, seed, report)
    if path is not None:
        _keep(judge, path)
    return judge


def _place(name: str, examples: Examples, seed: int) -> Path | None:
    """Where a judge is kept; None where there is no home directory."""
    key = hashlib.sha256(repr((VERSION, RECIPE, seed, torch.__version__, examples.images.shape)).encode())
    key.update(str(examples.images.dtype).encode())
    for part in (examples.images, examples.labels):
        key.update(part.contiguous().numpy().data)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        log.warning("the judge of %s is not kept: %s", name, error)
        return None
    return home / "dcgmm" / "judges" / f"{name}-{key.hexdigest()[:16]}.pt"


def _kept(path: Path, examples: Examples) -> Judge | None:
    """The judge of a file; None where there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        judge = Judge(state["weights"], state["labels"])
        expected = shapes(examples.images.shape[-1], len(examples.labels.unique()))
        sound = {key: tuple(value.shape) for key, value in judge.weights.items()} == expected
        sound = sound and all(bool(value.isfinite().all()) for value in judge.weights.values())
        if sound and torch.equal(judge.labels, examples.labels.unique()):
            return judge
    except Exception as error:  # whatever torch's unpickler comes across in a damaged file
        log.debug("%s: %s", path, error)
    log.warning("%s is damaged: it is made again", path)
    return None


def _keep(judge: Judge, path: Path) -> None:
    state = {"weights": judge.weights, "labels": judge.labels}
    sweep_temporary(path.parent, older=DAY)
    try:
        write_whole(path, lambda file: torch.save(state, file))
    except (InputError, OSError) as error:
        log.warning("the judge is not kept: %s", error)
