"""The benchmark's tasks: what is trained on, and which test images are told apart then.

Shapes: N images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import dcgmm
from dcgmm.outliers.metrics import Floats, auroc
from experiments.benchmark.corruptions import CORRUPTIONS, corrupted

DATASETS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
CLASSES = 10
DRAWN = 2000  # test images of each side, where other data sets and corruptions are told
GROUPS = {
    "one": "one class",
    "several": "several classes",
    "half": "0-4 against 5-9",
    "other": "the other data set",
    "corrupted": "corruptions",
}


@dataclass(frozen=True)
class TrainingSet:
    """Normal images: classes of a data set."""

    dataset: str
    classes: tuple[int, ...] | None = None  # None: all

    @property
    def name(self) -> str:
        """In a word."""
        return f"{self.dataset}-{'all' if self.classes is None else ''.join(map(str, self.classes))}"

    @property
    def group(self) -> str:
        """The group of its tasks among the other classes; of all classes: other."""
        if self.classes is None:
            return "other"
        return {1: "one", 5: "half"}.get(len(self.classes), "several")

    def train(self, suffix: str) -> Tensor:  # (N, H, W, C) uint8
        """Its training images."""
        return dcgmm.datasets.load(self.dataset + suffix, classes=self.classes).train.images


def training_sets() -> list[TrainingSet]:
    """All, those first whose tasks matter most."""
    several: list[tuple[int, ...] | None] = [(0, 1, 2, 3, 4), (0, 1, 2), tuple(range(7)), None]
    one = [TrainingSet(dataset, (label,)) for label in range(CLASSES) for dataset in DATASETS]
    return one + [TrainingSet(dataset, classes) for classes in several for dataset in DATASETS]


class Rows(NamedTuple):
    """Some of the images of a part."""

    part: str
    rows: NDArray[np.intp]


@dataclass(frozen=True)
class Judging:
    """Test images in parts, each of which is scored once, and the tasks that these scores are judged by."""

    parts: dict[str, Tensor]
    tasks: dict[str, tuple[Rows, Rows]]  # inliers, outliers, by a name that begins with the group

    def aurocs(self, score: Callable[[Tensor], Floats]) -> dict[str, float]:
        """Area under the ROC curve in each task; `score` takes images (N, H, W, C), high for inliers."""
        return self.judged({part: score(images) for part, images in self.parts.items()})

    def judged(self, scores: dict[str, Floats]) -> dict[str, float]:
        """The same, of scores by part."""
        return {name: auroc(*(scores[side.part][side.rows] for side in sides)) for name, sides in self.tasks.items()}


def judging(training: TrainingSet, suffix: str, seed: int) -> Judging:
    """The tasks of a training set."""
    test = dcgmm.datasets.load(training.dataset + suffix).test
    generator = np.random.default_rng(seed)
    if training.classes is None:
        return _foreign(training, suffix, test.images, generator, seed)
    inside = np.isin(test.labels.numpy(), training.classes)
    sides = [np.flatnonzero(inside), np.flatnonzero(~inside)]
    if training.group == "several":
        size = min(map(len, sides))
        sides = [np.sort(generator.choice(side, size, replace=False)) for side in sides]
    inliers, outliers = (Rows("test", side) for side in sides)
    return Judging({"test": test.images}, {f"{training.group} {training.name}": (inliers, outliers)})


def _foreign(training: TrainingSet, suffix: str, test: Tensor, generator: np.random.Generator, seed: int) -> Judging:
    """Images of another data set, and corrupted ones of its own."""
    (other,) = (name for name in DATASETS if name != training.dataset)
    foreign = dcgmm.datasets.load(other + suffix).test.images
    own = _some(test, generator)
    parts = {"test": own, other: _some(foreign, generator)}
    parts |= {name: corrupted(name, own, seed) for name in CORRUPTIONS}
    every = {part: Rows(part, np.arange(len(images))) for part, images in parts.items()}
    names = {part: f"corrupted {training.dataset} {part}" for part in CORRUPTIONS}
    names[other] = f"other {training.name}"
    return Judging(parts, {name: (every["test"], every[part]) for part, name in names.items()})


def _some(images: Tensor, generator: np.random.Generator) -> Tensor:
    rows = np.sort(generator.choice(len(images), min(DRAWN, len(images)), replace=False))
    return images[torch.from_numpy(rows)]


def task_names(training: TrainingSet) -> Iterator[str]:
    """Names of a training set's tasks."""
    yield f"{training.group} {training.name}"
    if training.classes is None:
        yield from (f"corrupted {training.dataset} {name}" for name in CORRUPTIONS)
