"""Finished commands of a study, and what made their results."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError
from dcgmm.files import read_json
from dcgmm_cli.runs import META
from experiments.paper.items import Row
from experiments.paper.plan import Study, finished_result
from experiments.paper.published import DATASETS


@dataclass(frozen=True)
class Found:
    """A finished command on one model."""

    dataset: str
    arch: str
    seed: int
    run: Path
    directory: Path
    result: dict[str, Any]

    @property
    def key(self) -> Row:
        """What tells its row from others."""
        return {"dataset": self.dataset, "arch": self.arch, "seed": self.seed}


def find(study: Study, experiment: str, follow_up: str, archs: Iterable[str] | None = None) -> list[Found]:
    """What has finished of a command, given as <command>/<name>, by data set, architecture and seed."""
    found = []
    for dataset in DATASETS:
        for arch in study.scale.archs if archs is None else archs:
            for seed in study.seeds(arch):
                run = study.run(experiment, arch, dataset, seed)
                result = finished_result(run / follow_up)
                if result is not None:
                    found.append(Found(dataset, arch, seed, run, run / follow_up, dict(result)))
    return found


def conditions(found: Sequence[Found]) -> dict[str, Any]:
    """What made the results: versions, commits, devices, with how many runs each; times of training."""
    versions, commits, devices, systems = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    seconds: dict[str, list[float]] = {}
    for run, arch in {each.run: each.arch for each in found}.items():
        try:
            meta = read_json(run / META)
        except InputError:
            continue
        packages = {"dcgmm": meta["dcgmm"], "Python": meta["python"], **meta["packages"]}
        versions[", ".join(f"{name} {version}" for name, version in packages.items())] += 1
        git = meta["git"]
        commits[
            "not from a checkout" if git is None else git["sha"][:10] + (" with changes" if git["dirty"] else "")
        ] += 1
        devices[meta["starts"][-1]["device"]] += 1
        systems[meta["platform"].partition("-")[0]] += 1
        result = finished_result(run)
        if result is not None and isinstance(took := result.get("train_seconds"), int | float):
            seconds.setdefault(arch, []).append(float(took))
    return {
        "runs": sum(devices.values()),
        "versions": dict(versions),
        "commits": dict(commits),
        "devices": dict(devices),
        "systems": dict(systems),
        "train_seconds": {arch: round(sum(took) / len(took), 1) for arch, took in seconds.items()},
    }
