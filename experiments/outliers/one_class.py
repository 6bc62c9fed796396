"""Each class of MNIST and of FashionMNIST as the only one to train on, all others as outliers.

    python experiments/outliers/one_class.py [ARCH ...] [--datasets mnist fashion_mnist] [--seed 0]
        [--output experiments/outliers/one_class.json]

Defaults of training, all test images. What the output holds already is not done again. Prints areas under the ROC
curve: means over the ten classes, and the least.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

import torch

import dcgmm
from dcgmm.outliers import Detector
from dcgmm.outliers.metrics import auroc

SCORES = ("joint", "pixels", "worst", "auto")
HERE = Path(__file__).parent


def judged(arch: str, dataset: str, label: int, seed: int) -> dict[str, float]:
    """AUROC of each score, class `label` against the others."""
    train = dcgmm.datasets.load(dataset, classes=[label]).train
    model = dcgmm.DCGMM.build(tuple(train.images.shape[1:]), dcgmm.arch(arch))
    dcgmm.fit(model, train.images, seed=seed)
    detector = Detector.fit(model, train.images)
    test = dcgmm.datasets.load(dataset).test
    scores, inside = detector.scores(test.images), test.labels == label
    return {name: auroc(scores[name][inside].numpy(), scores[name][~inside].numpy()) for name in SCORES}


def table(found: dict[str, dict[str, float]], archs: list[str], datasets: list[str]) -> str:
    """A row an architecture and data set."""
    lines = [f"| | classes | {' | '.join(SCORES)} |", "|---" * (len(SCORES) + 2) + "|"]
    for arch in archs:
        for dataset in datasets:
            some = [each for name, each in found.items() if name.startswith(f"{arch} {dataset} ")]
            if some:
                values = [[each[score] for each in some] for score in SCORES]
                cells = [f"{fmean(column):.3f} (least {min(column):.3f})" for column in values]
                lines.append(f"| {arch}, {dataset} | {len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Judge detectors that were trained on one class.")
    parser.add_argument("archs", nargs="*", default=["1L", "2L-b", "2L-c"], metavar="ARCH")
    parser.add_argument("--datasets", nargs="+", default=["mnist", "fashion_mnist"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "one_class.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(given.output.read_text()) if given.output.exists() else {}
    for arch in given.archs:
        for dataset in given.datasets:
            for label in range(10):
                if (name := f"{arch} {dataset} {label}") not in found:
                    found[name] = judged(arch, dataset, label, given.seed)
                    given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, given.archs, given.datasets))


if __name__ == "__main__":
    main()
