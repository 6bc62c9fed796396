"""Chooses the configuration: scores of candidate models on tasks made of training images alone, and of their votes.

    python -m experiments.benchmark.choosing SCORES [--models 2L-c 1L-outliers ...]

SCORES is a folder for the scores of each model in each task, which are found again by the next start. The tasks, the
candidates and the rule are those of this folder's README. Only training images of the classes 0 to 4 take part: nine
tenths of a class train, the last tenth is judged.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

import dcgmm
from dcgmm.files import write_whole
from dcgmm.options import made
from experiments.benchmark.votes import rank

OUTLIERS = Path(__file__).parents[1] / "outliers" / "conf" / "arch"
DATASETS = ("mnist", "fashion_mnist")
CLASSES = range(5)
SEED = 1000  # none of the benchmark's
STEPS = 3600
LEFT_OUT = 1500  # images of the class that is left out
OWN: dict[str, dict[str, Any]] = {
    "1L-400": {
        "exponent": 0.3,
        "layers": [{"type": "folding", "kernel": [28, 28]}, {"type": "gmm", "components": 400}],
    },
    "1L-factors": {
        "exponent": 0.5,
        "layers": [{"type": "folding", "kernel": [28, 28]}, {"type": "gmm", "components": 25, "factors": 8}],
    },
}
MODELS = ("2L-c", "1L-outliers", "1L-factors", "2L-outliers", "1L-400", "3L-a")


@dataclass(frozen=True)
class Task:
    """What is trained on, and what is told apart then: all of them training images of the data set."""

    name: str
    train: Tensor  # (N, H, W, C) uint8
    inliers: Tensor
    outliers: Tensor


def architecture(name: str) -> dcgmm.Architecture:
    if name in OWN:
        return made(dcgmm.Architecture, OWN[name], "arch")
    own = OUTLIERS / f"{name}.yaml"
    return made(dcgmm.Architecture, yaml.safe_load(own.read_text()), "arch") if own.exists() else dcgmm.arch(name)


def tasks() -> Iterator[Task]:
    """One class against four, and four against one, of both data sets."""
    for dataset in DATASETS:
        data = {label: dcgmm.datasets.load(dataset, classes=[label], holdout=0.1) for label in CLASSES}
        train = {label: each.train.images for label, each in data.items()}
        held = {label: each.test.images for label, each in data.items()}
        for label in CLASSES:
            others = torch.cat([held[other] for other in CLASSES if other != label])
            yield Task(f"{dataset} one {label}", train[label], held[label], others)
        for label in CLASSES:
            rest = [other for other in CLASSES if other != label]
            known, own = (torch.cat([part[other] for other in rest]) for part in (train, held))
            yield Task(f"{dataset} four {label}", known, own, train[label][:LEFT_OUT])


def chimeras(images: Tensor) -> Tensor:  # (N, H, W, C) of one class -> (N, H, W, C)
    """Left halves with the right halves of other images: each part is usual where it is, not beside the other."""
    middle = images.shape[2] // 2
    return torch.cat([images[:, :, :middle], images.roll(1, 0)[:, :, middle:]], 2)


def scores(task: Task, model_name: str, folder: Path) -> dict[str, NDArray[np.float64]]:
    """All scores of a model in a task, as <score>/<images>."""
    path = folder / f"{task.name} {model_name}.npz".replace(" ", "_")
    if not path.exists():
        model = dcgmm.DCGMM.build((28, 28, 1), architecture(model_name))
        started = time.perf_counter()
        dcgmm.fit(model, task.train, seed=SEED, steps=STEPS)
        trained = time.perf_counter()
        detector = dcgmm.Detector.fit(model, task.train)
        parts = {"train": task.train, "inliers": task.inliers, "outliers": task.outliers}
        if " one " in task.name:
            parts["chimeras"] = chimeras(task.inliers)
        found = {
            f"{name}/{part}": values.numpy()
            for part, images in parts.items()
            for name, values in detector.scores(images).items()
        }
        write_whole(path, lambda file: np.savez_compressed(file, **found))  # type: ignore[arg-type]  # NumPy's stub
        print(f"{task.name} {model_name}: {trained - started:.0f} + {time.perf_counter() - trained:.0f} s", flush=True)
    with np.load(path) as kept:
        return dict(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="SCORES")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, metavar="MODEL")
    parser.add_argument("--kinds", nargs="+", default=("one", "four"), choices=("one", "four"), metavar="KIND")
    parser.add_argument("--shown", type=int, default=20, help="candidates that are printed, the best first")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for kind in arguments.kinds:
        for model_name in arguments.models:
            for task in tasks():
                if f" {kind} " in task.name:
                    scores(task, model_name, arguments.folder)
    kept = {
        (task.name, model_name): scores(task, model_name, arguments.folder)
        for task in tasks()
        for model_name in arguments.models
        if task.name.split()[1] in arguments.kinds
    }
    for criterion, name, means in rank(kept, tuple(arguments.models))[: arguments.shown]:
        print(f"{criterion:.5f} | {name} | " + ", ".join(f"{group} {mean:.4f}" for group, mean in means.items()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
