"""What the jobs have left, as rows: a figure of a method in a task, with what it took."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcgmm.files import read_json
from dcgmm.outliers.options import VOTE
from experiments.benchmark.configuration import MEMBERS
from experiments.benchmark.peers import PEERS
from experiments.benchmark.plan import Study
from experiments.benchmark.tasks import TrainingSet
from experiments.benchmark.work import COST
from experiments.paper.items import Item, Row
from experiments.paper.plan import finished_result
from experiments.paper.starts import read_starts

SECONDS = ("seconds", "cpu_seconds")


def collect(study: Study) -> Item:
    """All figures that are there, with the starts that made them."""
    rows: list[Row] = []
    for seed in range(study.seeds):
        for training in study.sets:
            rows += _models(study, training, seed)
            for peer in PEERS:
                rows += _rows(training, seed, study.directory("peer", peer, training, seed), {})
    return Item(rows, {"starts": read_starts(study.root)})


def _models(study: Study, training: TrainingSet, seed: int) -> list[Row]:
    """The vote, with what its members' trainings took beside the judging; and the members' own scores."""
    costs = [
        read_json(path) for arch in MEMBERS if (path := study.directory("train", arch, training, seed) / COST).is_file()
    ]
    return list(_rows(training, seed, study.directory("judge", VOTE, training, seed), _together(costs)))


def _together(costs: list[dict[str, Any]]) -> dict[str, Any]:
    if not costs:
        return {}
    seconds = {key: sum(cost[key] for cost in costs) for key in SECONDS}
    return {**seconds, "memory_mb": max(cost.get("memory_mb", 0) for cost in costs)}


def _rows(training: TrainingSet, seed: int, directory: Path, before: dict[str, Any]) -> Iterator[Row]:
    result: Any = finished_result(directory)
    if result is None:
        return
    seconds = {key: round(result[key] + before.get(key, 0), 1) for key in SECONDS}
    memory = max(result.get("memory_mb", 0), before.get("memory_mb", 0))
    for method, aurocs in result["auroc"].items():
        whole = {**seconds, "memory_mb": memory} if method in (VOTE, *PEERS) else {}
        for task, auroc in aurocs.items():
            group, _, name = task.partition(" ")
            row = {"method": method, "group": group, "task": name, "seed": seed, "auroc": auroc}
            yield row | {"trained_on": training.name, "images": result["images"]} | whole
