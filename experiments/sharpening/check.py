"""Judges the default sharpening of trained runs: python check.py OUT.json COUNT DRAWS RUN_DIRECTORY...

Each of DRAWS seeds, from 100 on, draws COUNT images twice with the same noise, unsharpened and sharpened by the
architecture's default. Runs that the file has already are not judged again. Prints a table of all that it has: the
change from before to after, mean and standard deviation over models and draws.
"""

import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import dcgmm
from dcgmm.generation import Quality, Sharpened, SharpeningOptions, judge, reference_of
from dcgmm.runtime import set_threads

FIRST_SEED = 100  # the sweep drew with seed 0
KEYS = ("ndb", "js", "train_distance", "diversity")


def check(run: Path, count: int, draws: int) -> dict[str, Any]:
    """Figures of one trained run, before and after, for each draw."""
    trained = dcgmm.load_run(run)
    model, dataset = trained.model, trained.config["dataset"]
    train = dcgmm.datasets.load(**dataset | {"root": None}).train.images  # kept where they are kept here
    reference = reference_of(train, 100, count, torch.Generator().manual_seed(0))
    options, lines = SharpeningOptions(), []
    for seed in range(FIRST_SEED, FIRST_SEED + draws):
        outcomes: dict[str, list[Sharpened]] = {}
        before = dcgmm.sample(model, count, seed=seed).images
        after = dcgmm.sample(model, count, seed=seed, sharpening=options, outcomes=outcomes).images
        ascents = {name: [each[0].log_likelihood[0], each[0].log_likelihood[-1]] for name, each in outcomes.items()}
        figures = {"before": _chosen(judge(before, reference)), "after": _chosen(judge(after, reference))}
        lines.append({"seed": seed, **figures, "log_likelihood": ascents})
    return {
        "arch": model.architecture.name,
        "dataset": dataset["name"],
        "classes": dataset["classes"],
        "seed": trained.config["seed"],
        "options": asdict(options.steps(model.architecture.sharpening)),
        "count": count,
        "draws": lines,
    }


def _chosen(quality: Quality) -> dict[str, float]:
    return {key: round(asdict(quality)[key], 5) for key in KEYS}


def table(runs: list[dict[str, Any]]) -> str:
    """A line for each architecture and data set: before, and the change."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["arch"], run["dataset"]), []).extend(run["draws"])
    lines = [
        "| | draws | NDB | change | JS | change | nearest training image | change | log-likelihood rose in |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (arch, dataset), draws in sorted(groups.items()):
        cells = [f"{arch}, {dataset}", str(len(draws))]
        for key, digits in (("ndb", 1), ("js", 4), ("train_distance", 3)):
            start = statistics.mean(each["before"][key] for each in draws)
            change = [each["after"][key] - each["before"][key] for each in draws]
            cells += [
                f"{start:.{digits}f}",
                f"{statistics.mean(change):+.{digits}f} ± {statistics.stdev(change):.{digits}f}",
            ]
        rose = [all(after > before for before, after in each["log_likelihood"].values()) for each in draws]
        lines.append(f"| {' | '.join([*cells, f'{sum(rose)} of {len(rose)}'])} |")
    return "\n".join(lines)


def main(out: Path, count: int, draws: int, directories: list[Path]) -> None:
    """Judge the runs that `out` has not, and print the table of all."""
    set_threads(1)
    runs = json.loads(out.read_text()) if out.exists() else []
    known = {(run["arch"], run["dataset"], run["seed"]) for run in runs}
    for directory in directories:
        config = dcgmm.load_run(directory).config
        if (config["arch"]["name"], config["dataset"]["name"], config["seed"]) not in known:
            runs.append(check(directory, count, draws))
            out.write_text(json.dumps(runs, indent=1) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [Path(each) for each in sys.argv[4:]])
