"""Judges outlier scores inside the training classes, so that a choice among them sees no outlier of the real split.

    python experiments/outliers/proxies.py ARCH [ARCH ...] [--left-out COUNT] [--train KEY=VALUE ...] [--runs DIR]
        [--output FILE]

Of the classes 0 to 4 of MNIST and of FashionMNIST one is left out of training, in turn, and is the outlier then: ten
tasks an architecture. With --left-out 2 it is every two of them: twenty tasks. Each is a training and a judging by the
ordinary commands, in directories that are found again by the next start; another --runs is for other settings of
training. Prints areas under the ROC curve.
"""

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from dcgmm.files import read_json
from dcgmm_cli.main import run as dcgmm
from dcgmm_cli.runs import RESULT

CONFIG_DIR = Path(__file__).parent / "conf"  # the architectures *-outliers
DATASETS = ("mnist", "fashion_mnist")
CLASSES = range(5)
SCORES = ("log_prob", "ratio", "joint", "pixels", "worst", "auto")  # log_prob: the top layer's


def judged(root: Path, arch: str, dataset: str, outliers: Sequence[int], overrides: list[str]) -> dict[str, float]:
    """AUROC of each score in one task."""
    run = root / f"{arch}-{dataset}-{name(outliers)}"
    judging = run / "outliers" / "proxy"
    if not (judging / RESULT).exists():
        classes = [label for label in CLASSES if label not in outliers]
        training = [f"arch={arch}", f"dataset={dataset}", f"dataset.classes={classes}", "trainer.epochs=16", *overrides]
        if not (run / RESULT).exists():
            command(["train", "--config-dir", str(CONFIG_DIR), *training, f"runs_dir={root}", f"hydra.run.dir={run}"])
        command(["outliers", f"run={run}", f"outliers.classes={list(outliers)}", f"hydra.run.dir={judging}"])
    result = read_json(judging / RESULT)
    figures = {name: result["detection"][name]["auroc"] for name in SCORES if name in result["detection"]}
    return {"log_prob": result["auroc"]["top"], **figures}


def name(outliers: Sequence[int]) -> str:
    """The classes that are left out, in a word."""
    return "+".join(map(str, outliers))


def command(arguments: list[str]) -> None:
    """Run one command of dcgmm, or leave with its exit code."""
    if code := dcgmm(arguments):
        sys.exit(code)


def table(arch: str, tasks: dict[str, dict[str, float]]) -> str:
    """A line a score: its AUROC in each task, and the means."""
    lines = [f"| {arch} | " + " | ".join(tasks) + " | mean |", "|---" * (len(tasks) + 2) + "|"]
    for score in SCORES:
        values = [figures[score] for figures in tasks.values() if score in figures]
        if values:
            lines.append(f"| `{score}` | " + " | ".join(f"{v:.3f}" for v in [*values, statistics.mean(values)]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archs", nargs="+", metavar="ARCH")
    parser.add_argument(
        "--left-out", type=int, default=1, choices=range(1, 5), metavar="COUNT", help="classes at a time"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/proxies"), help="where the runs are")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--train", nargs="+", default=[], metavar="KEY=VALUE", help="settings, as in trainer.epochs=10")
    arguments = parser.parse_args()
    results = {}
    for arch in arguments.archs:
        results[arch] = {
            f"{dataset} {name(outliers)}": judged(arguments.runs, arch, dataset, outliers, arguments.train)
            for dataset in DATASETS
            for outliers in itertools.combinations(CLASSES, arguments.left_out)
        }
        print(table(arch, results[arch]), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({"train": arguments.train, "auroc": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
