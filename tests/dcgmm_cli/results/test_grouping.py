import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from dcgmm_cli.results.grouping import group
from dcgmm_cli.results.reading import Run, find_runs
from dcgmm_cli.results.selecting import matching
from tests.dcgmm_cli.results.conftest import AUROC, LAYERS, change, column, run_with, trained, training, write


def test_groups_over_seeds_against_the_statistics_module(root: Path) -> None:
    table = group(
        matching(find_runs([str(root)]), ["command=outliers"]),
        ["seed"],
        ["arch", "auroc.top", "false_positive_rate_95"],
    )
    values = list(AUROC.values())
    (row,) = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert (row["arch"], row["runs"]) == ("1L", 3)
    assert row["auroc.top mean"] == pytest.approx(statistics.mean(values))
    assert row["auroc.top deviation"] == pytest.approx(statistics.stdev(values))
    # More is better of the one, less of the other.
    assert (row["auroc.top worst"], row["auroc.top best"]) == (0.5, 0.875)
    assert (row["false_positive_rate_95 worst"], row["false_positive_rate_95 best"]) == (0.2, 0.0)


def test_groups_keep_apart_what_differs_and_count_what_has_not_finished(root: Path) -> None:
    training(root, "1L", 3, status="failed", layers={})
    table = group(trained(root), ["seed"], None)
    assert table.columns[:4] == ["arch", "dataset", "runs", "unfinished"]
    assert [row[:4] for row in table.rows] == [["1L", "mnist", 3, 1], ["2L-c", "mnist", 1, 0]]
    assert column(table, "layers.gmm1.test_log_likelihood mean") == [101.0, 100.0]
    assert column(table, "layers.gmm1.test_log_likelihood deviation") == [1.0, None]
    assert column(table, "train_seconds worst") == [12.0, 10.0]


@pytest.mark.parametrize("name", ["dunn", "layers.gmm1.test_log_likelihood", "methods.k-means.nmi", "silhouette"])
def test_more_is_better(name: str) -> None:
    table = group([run_with(**{name: value}) for value in (2.0, 1.0, 4.0)], ["command"], [name])
    assert (column(table, f"{name} worst"), column(table, f"{name} best")) == ([1.0], [4.0])


@pytest.mark.parametrize("name", ["davies_bouldin", "ndb", "quality.top_s=1.js", "frechet", "seconds", "train_seconds"])
def test_less_is_better(name: str) -> None:
    table = group([run_with(**{name: value}) for value in (2.0, 1.0, 4.0)], ["command"], [name])
    assert (column(table, f"{name} worst"), column(table, f"{name} best")) == ([4.0], [1.0])


def test_where_it_is_not_known_what_is_better_the_ends_are_least_and_largest() -> None:
    table = group([run_with(steps=value) for value in (2, 1, 4)], ["command"], ["steps"])
    assert table.columns == ["runs", *(f"steps {name}" for name in ("mean", "deviation", "least", "largest"))]
    assert table.rows[0][-2:] == [1, 4]


def test_groups_show_the_settings_asked_for_and_count_results_that_some_runs_lack(root: Path) -> None:
    training(root, "1L", 3, train_seconds=None)
    path = root / "1L-mnist" / "run-0" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_source": "elsewhere"}))
    table = group(trained(root), ["seed"], ["arch", "trainer.epochs", "data_source", "train_seconds"])
    assert table.columns[:5] == ["arch", "trainer.epochs", "data_source", "runs", "train_seconds count"]
    # What differs within a group is no fact of it.
    assert [row[:6] for row in table.rows] == [["1L", 25, None, 4, 3, 11.0], ["2L-c", 25, None, 1, 1, 10.0]]


def test_a_setting_that_is_null_is_the_same_as_none() -> None:
    runs = [Run(Path("a"), settings, run_with(dunn=1.0).results) for settings in ({"dataset.classes": None}, {})]
    assert column(group(runs, ["command"], ["dunn"]), "runs") == [2]


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ({"arch__exponent": 0.3}, "arch.exponent"),
        ({"arch__layers": [LAYERS[0], {"type": "gmm", "components": 36}]}, "arch.layers"),
        ({"arch__layers": [{"type": "power", "exponent": 0.3}, *LAYERS]}, "arch.layers"),
        ({"arch__sharpening": {"rate": 0.1}}, "arch.sharpening.rate"),
        ({"trainer__epochs": 5}, "trainer.epochs"),
    ],
)
def test_runs_whose_settings_differ_never_become_one_row(root: Path, setting: dict[str, Any], shown: str) -> None:
    for number in (0, 1, 2):
        change(root / "1L-mnist" / f"run-{number}", arch__exponent=1.0)
    change(root / "1L-mnist" / "run-2", **setting)
    runs = matching(trained(root), ["arch=1L"])
    table = group(runs, ["seed"], None)
    assert column(table, "runs") == [2, 1]
    assert len(set(column(table, shown))) == 2
    # Also where the setting is not shown.
    assert column(group(runs, ["seed"], ["arch", "train_seconds"]), "runs") == [2, 1]


def test_a_follow_ups_own_seed_goes_with_the_models(root: Path) -> None:
    change(root / "1L-mnist" / "run-2" / "outliers" / "a", seed=8)
    runs = matching(find_runs([str(root)]), ["command=outliers"])
    assert column(group(runs, ["seed"], ["auroc.top"]), "runs") == [3]
    assert column(group(matching(runs, ["seed=1,2"]), ["outliers.c"], ["auroc.top"]), "runs") == [1, 1]


def test_a_run_that_was_done_again_counts_once(root: Path) -> None:
    training(root, "1L", 3, train_seconds=99.0)
    change(root / "1L-mnist" / "run-3", seed=2)
    for number, day in ((2, 1), (3, 2)):
        path = root / "1L-mnist" / f"run-{number}" / "meta.json"
        meta = json.loads(path.read_text()) | {"starts": [{"time": f"2026-01-0{day}T12:00:00+00:00"}]}
        path.write_text(json.dumps(meta))
    table = group(trained(root), ["seed"], ["arch", "train_seconds"])
    assert table.columns[:3] == ["arch", "runs", "again"]
    assert [row[:4] for row in table.rows] == [["1L", 3, 1, 40.0], ["2L-c", 1, 0, 10.0]]


def test_rows_that_would_look_alike_show_what_tells_them_apart(root: Path) -> None:
    write(
        root / "1L-mnist" / "run-0" / "outliers" / "b",
        {"config": {"input": "photos", "outliers": {"c": 1.5}}},
        {"command": "outliers", "status": "finished", "images": 7},
    )
    table = group(matching(find_runs([str(root)]), ["command=outliers"]), ["seed"], ["arch", "auroc.top"])
    assert column(table, "input") == [None, "photos"]
    assert column(table, "runs") == [3, 1]
    assert "trainer.epochs" not in table.columns
