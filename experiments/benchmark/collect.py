"""What the jobs have left, as rows: a figure of a method in a task, with what it took."""

from collections.abc import Iterator, Sequence
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
            rows += _models(study, VOTE, tuple(MEMBERS), training, seed)
            for arch in study.architectures:
                rows += _models(study, arch, (arch,), training, seed)
            for peer in PEERS:
                rows += _rows(training, seed, study.directory("peer", peer, training, seed))
    return Item(rows, {"starts": read_starts(study.root)})


def _models(study: Study, name: str, archs: Sequence[str], training: TrainingSet, seed: int) -> Iterator[Row]:
    """What was judged together, with what the trainings took beside the judging; and each model's own scores."""
    paths = [study.directory("train", arch, training, seed) / COST for arch in archs]
    before = [read_json(path) for path in paths if path.is_file()]
    yield from _rows(training, seed, study.directory("judge", name, training, seed), before, len(paths))


def _rows(
    training: TrainingSet, seed: int, directory: Path, before: Sequence[dict[str, Any]] = (), parts: int = 0
) -> Iterator[Row]:
    result: Any = finished_result(directory)
    if result is None:
        return
    costs = [result, *before]
    taken: Row = {}
    if len(before) == parts:  # else a part of it was interrupted, and is not known
        taken = {key: round(sum(cost[key] for cost in costs), 1) for key in SECONDS}
        taken["memory_mb"] = max(cost.get("memory_mb", 0) for cost in costs)
    for method, aurocs in result["auroc"].items():
        for task, auroc in aurocs.items():
            group, _, name = task.partition(" ")
            row = {"method": method, "group": group, "task": name, "seed": seed, "auroc": auroc}
            yield (
                row
                | {"trained_on": training.name, "images": result["images"]}
                | (taken if parts == 1 or method in (VOTE, *PEERS) else {})  # not what one of several members took
            )
