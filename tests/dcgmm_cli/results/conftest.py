"""Run directories written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcgmm_cli.results.reading import Run, find_runs
from dcgmm_cli.results.selecting import Table, matching

LAYERS = [{"type": "folding", "kernel": [28, 28], "stride": None}, {"type": "gmm", "components": 25}]
AUROC = {0: 0.75, 1: 0.5, 2: 0.875}


def write(directory: Path, meta: dict[str, Any] | str | None, result: dict[str, Any] | str | None) -> Path:
    directory.mkdir(parents=True)
    for name, content in (("meta.json", meta), ("result.json", result)):
        if content is not None:
            (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return directory


def training(root: Path, arch: str, seed: int, device: str = "cpu", **result: Any) -> Path:
    config = {"arch": {"name": arch, "layers": LAYERS}, "dataset": {"name": "mnist", "classes": [0, 1]}, "seed": seed}
    config |= {"trainer": {"epochs": 25, "device": device}, "runs_dir": str(root)}
    outcome = {"command": "train", "status": "finished", "seconds": 9.5, "train_seconds": 10.0 + seed}
    outcome |= {"layers": {"gmm1": {"test_log_likelihood": 100.0 + seed}}, **result}
    return write(root / f"{arch}-mnist" / f"run-{seed}", {"config": config}, outcome)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    for seed in (0, 1, 2):
        run = training(runs, "1L", seed, device=f"cuda:{seed}")
        outliers = {
            "command": "outliers",
            "status": "finished",
            "auroc": {"top": AUROC[seed]},
            "false_positive_rate_95": 0.1 * seed,
        }
        write(run / "outliers" / "a", {"config": {"seed": 7, "outliers": {"c": 1.5}}}, outliers)
    training(runs, "2L-c", 0)
    (runs / "latest").symlink_to(runs / "1L-mnist" / "run-0", target_is_directory=True)
    return runs


def column(table: Table, name: str) -> list[Any]:
    return [row[table.columns.index(name)] for row in table.rows]


def trained(root: Path) -> list[Any]:
    return matching(find_runs([str(root)]), ["command=train"])


def change(directory: Path, **settings: Any) -> None:
    """Change a run's settings, given by their dotted keys with two underscores for each dot."""
    path = directory / "meta.json"
    meta = json.loads(path.read_text())
    for key, value in settings.items():
        *above, name = key.split("__")
        node = meta["config"]
        for part in above:
            node = node[part]
        node[name] = value
    path.write_text(json.dumps(meta))


def run_with(**results: Any) -> Run:
    return Run(Path(str(results.get("name"))), {}, {"command": "train", "status": "finished", **results})
