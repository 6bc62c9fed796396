"""Collecting from run directories that hold known figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcgmm.files import write_json
from experiments.paper.architectures import parse_layer
from experiments.paper.collect import collect
from experiments.paper.items import Item, read_item, write_item
from experiments.paper.plan import ALL_CLASSES, FIRST_FIVE, Scale, Study
from experiments.paper.published import TABLE_1
from tests.refusals import check_names

META = {
    "dcgmm": "0.1.0",
    "git": {"sha": "0123456789abcdef", "dirty": False},
    "python": "3.11.7",
    "platform": "Linux-6.1-x86_64",
    "packages": {"torch": "2.13.0"},
    "starts": [{"device": "cpu, 1 threads", "argv": ["/somewhere/dcgmm"]}],
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "root", Scale(seeds=2))


def add_run(study: Study, experiment: str, arch: str, seed: int, follow_up: str, result: dict[str, Any]) -> Path:
    run = study.run(experiment, arch, "mnist", seed)
    write_json(run / "meta.json", META)
    write_json(run / "result.json", {"status": "finished", "train_seconds": 2.0 + seed})
    write_json(run / follow_up / "result.json", {"status": "finished", **result})
    return run / follow_up


def test_an_item_comes_back_as_it_was_written(tmp_path: Path) -> None:
    item = Item([{"arch": "1L", "seed": 3, "dunn": 0.125, "none": None}, {"arch": "2L-a", "seed": 0}], {"more": [1]})
    write_item(tmp_path, "table2", item)
    missing = {"dunn": None, "none": None}
    assert read_item(tmp_path, "table2") == Item([item.rows[0], {"arch": "2L-a", "seed": 0} | missing], {"more": [1]})
    assert read_item(tmp_path, "fig3") is None


def test_table_1_builds_what_the_paper_prints_but_for_one(study: Study, tmp_path: Path) -> None:
    assert collect(study, "table1", tmp_path)
    item = read_item(tmp_path, "table1")
    assert item is not None
    for arch, printed in TABLE_1.items():
        layers = " ".join(row["layer"] for row in item.rows if row["arch"] == arch)
        assert (layers == printed) is (arch != "3L-a")
    assert list(item.more["as_printed"]) == ["3L-a"]
    check_names(item.more["as_printed"]["3L-a"], "F(6,6,1,1)", "5x5")
    flat = [row for row in item.rows if row["arch"] == "1L"][-1]
    # 25 weights, 25 x 784 centroids and as many precisions; a product and a sum, twice, for each of the latter.
    assert (flat["parameters"], flat["flops"]) == (25 + 2 * 25 * 784, 4 * 25 * 784)
    patches = next(row for row in item.rows if row["arch"] == "2L-c" and row["parameters"])
    assert (patches["height"], patches["width"], patches["flops"]) == (8, 8, 64 * 4 * 25 * 49)


def test_layers_are_written_as_they_are_read() -> None:
    for name in {name for printed in TABLE_1.values() for name in printed.split()}:
        assert str(parse_layer(name)) == name


def test_table_2_takes_finished_runs_only(study: Study, tmp_path: Path) -> None:
    figures = {"davies_bouldin": 2.5, "clusters": 25, "zero_pairs": 0, "images": 1000, "layer": "gmm1", "methods": {}}
    for seed, dunn in ((0, 0.12), (1, None)):
        peers = {"gmm1": {}, "k-means": {"dunn": 0.1, "davies_bouldin": 2.6, "clusters": 25}}
        add_run(study, ALL_CLASSES, "1L", seed, "cluster/table2", {**figures, "dunn": dunn, "methods": peers})
    add_run(study, ALL_CLASSES, "2L-a", 0, "cluster/table2", {**figures, "dunn": 0.2})
    unfinished = add_run(study, ALL_CLASSES, "2L-a", 1, "cluster/table2", {})
    write_json(unfinished / "result.json", {"status": "failed", "error": "x"})

    assert collect(study, "table2", tmp_path)
    item = read_item(tmp_path, "table2")
    assert item is not None
    assert [(row["arch"], row["seed"], row["dunn"]) for row in item.rows] == [
        ("1L", 0, 0.12),
        ("1L", 1, None),
        ("2L-a", 0, 0.2),
    ]
    assert [(peer["arch"], peer["dunn"]) for peer in item.more["peers"]] == [("k-means", 0.1)] * 2
    conditions = item.more["conditions"]
    assert conditions["runs"] == 3
    assert conditions["commits"] == {"0123456789": 3}
    assert conditions["train_seconds"] == {"1L": 2.5, "2L-a": 2.0}
    assert "/" not in json.dumps(conditions), "no paths of this machine"


def test_figure_3_averages_curves_over_the_runs(study: Study, tmp_path: Path) -> None:
    inliers = np.arange(100.0)
    curve = {"c": [-0.5, 0.0, 1.0], "inliers_kept": [0.2, 0.5, 0.8], "outliers_removed": [1.0, 0.8, 0.4]}
    # All outliers below all inliers, and all above: each removes all or nothing.
    for seed, outliers in ((0, inliers - 200), (1, inliers + 200)):
        result = {"auroc": {"top": 1.0 - seed, "joint": 0.5}, "score": "gmm1_log_prob", "curve": curve}
        directory = add_run(study, FIRST_FIVE, "1L", seed, "outliers/figure3", result)
        scores = {"gmm1_log_prob": np.concatenate([inliers, outliers]), "outlier": np.repeat([False, True], 100)}
        np.savez(directory / "scores.npz", **scores)  # type: ignore[arg-type]  # its signature knows one keyword
    assert collect(study, "fig3", tmp_path)
    item = read_item(tmp_path, "fig3")
    assert item is not None
    assert [row["auroc"] for row in item.rows] == [1.0, 0.0]
    mean = item.more["curves"]["mnist"]["1L"]
    assert mean["inliers_kept"] == list(range(101))
    assert mean["outliers_removed"] == [50.0] * 101
    assert item.more["marks"]["mnist"]["1L"] == {"c": [0, 1], "inliers_kept": [50, 80], "outliers_removed": [80, 40]}
    assert (tmp_path / "fig3.png").stat().st_size > 0


def test_what_has_not_been_run_leaves_the_collected_files_alone(study: Study, tmp_path: Path) -> None:
    write_item(tmp_path, "table2", Item([{"arch": "1L"}]))
    for item in ("table2", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8"):
        assert not collect(study, item, tmp_path)
    assert read_item(tmp_path, "table2") == Item([{"arch": "1L"}])
    assert {path.name for path in tmp_path.iterdir()} == {"table2.csv", "table2.json"}
