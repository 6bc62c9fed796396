"""The table over runs, on run directories written by hand."""

import csv
import fcntl
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from dcgmm_cli.errors import UserError
from dcgmm_cli.results import (
    Run,
    Table,
    as_csv,
    as_json,
    as_markdown,
    find_runs,
    group,
    matching,
    ordered,
    ordered_groups,
    tabulate,
)

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


def test_every_run_once_and_links_are_not_followed(root: Path) -> None:
    runs = find_runs([str(root), str(root / "1L-mnist")])
    directories = [run.directory for run in runs]
    assert len(directories) == len(set(directories)) == 7
    assert not any("latest" in path.parts for path in directories)


def test_a_directory_under_several_names_is_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "1L-mnist" / "run-0")
    runs = find_runs([".", str(root / "latest"), "outliers/a"])
    shown = [(str(run.directory), run.cell("command"), run.cell("arch"), run.cell("seed")) for run in runs]
    assert shown == [(".", "train", "1L", 0), ("outliers/a", "outliers", "1L", 0)]


def test_by_default_what_tells_the_runs_apart_and_the_main_results(root: Path) -> None:
    table = tabulate(trained(root), None)
    assert table.columns == [
        "run",
        "arch",
        "dataset",
        "seed",
        "status",
        "layers.gmm1.test_log_likelihood",
        "train_seconds",
    ]
    assert column(table, "arch") == ["1L", "1L", "1L", "2L-c"]
    training(root, "1L", 3)
    path = root / "1L-mnist" / "run-3" / "meta.json"
    meta = json.loads(path.read_text())
    meta["config"]["trainer"]["epochs"] = 5
    path.write_text(json.dumps(meta))
    table = tabulate(trained(root), None)
    assert column(table, "trainer.epochs") == [25, 25, 25, 5, 25]


def test_layers_are_shown_where_one_name_stands_for_several(root: Path) -> None:
    assert "arch.layers" not in tabulate(trained(root), None).columns
    path = root / "1L-mnist" / "run-1" / "meta.json"
    meta = json.loads(path.read_text())
    meta["config"]["arch"]["layers"][1]["components"] = 36
    path.write_text(json.dumps(meta))
    shown = column(tabulate(trained(root), None), "arch.layers")
    assert shown[:2] == ["F(28,28) G(25)", "F(28,28) G(36)"]


def test_a_follow_up_belongs_to_its_training_run(root: Path) -> None:
    runs = matching(find_runs([str(root)]), ["command=outliers"])
    table = tabulate(runs, ["arch", "dataset", "seed", "outliers.seed", "outliers.c", "auroc.top"])
    assert table.rows == [["1L", "mnist", seed, 7, 1.5, AUROC[seed]] for seed in (0, 1, 2)]
    # Also when it is asked for by itself.
    (alone,) = find_runs([str(root / "1L-mnist" / "run-2" / "outliers")])
    assert (alone.cell("arch"), alone.cell("seed"), alone.cell("auroc.top")) == ("1L", 2, AUROC[2])


def test_a_follow_up_of_a_sweep_in_a_directory_of_its_own_belongs_to_the_run_it_was_given(
    root: Path, tmp_path: Path
) -> None:
    config = {"run": str(root / "1L-mnist" / "run-2"), "seed": 7}
    result = {"command": "outliers", "status": "finished", "auroc": {"top": 0.5}}
    write(tmp_path / "sweep" / "job-0", {"config": config}, result)
    argv = ["dcgmm outliers", "run=latest"]
    write(tmp_path / "sweep" / "job-1", {"config": config, "starts": [{"argv": argv}]}, None)
    write(tmp_path / "sweep" / "job-2", {"config": {**config, "run": str(tmp_path / "gone")}}, result)
    write(tmp_path / "sweep" / "job-3", {"config": {**config, "run": str(tmp_path / "sweep" / "job-3")}}, result)
    table = tabulate(find_runs([str(tmp_path / "sweep")]), ["command", "arch", "seed", "outliers.seed", "status"])
    assert table.rows == [
        ["outliers", "1L", 2, 7, "finished"],
        ["outliers", "1L", 2, 7, "running or killed"],
        ["outliers", None, 7, None, "finished"],
        ["outliers", None, 7, None, "finished"],
    ]


def test_replicas_are_runs_and_what_holds_them_is_none(root: Path) -> None:
    group_of_two = training(root, "3L-b", 5, replicas=["replicas/seed-5", "replicas/seed-6"])
    for seed in (5, 6):
        own = training(root / "elsewhere", "3L-b", seed)
        (group_of_two / "replicas").mkdir(exist_ok=True)
        own.rename(group_of_two / "replicas" / f"seed-{seed}")
    runs = matching(trained(root), ["arch=3L-b"])
    assert [run.cell("seed") for run in runs] == [5, 6]


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        (["arch=1L"], [0, 1, 2]),
        (["arch=1L", "seed=0,2"], [0, 2]),
        (["seed=1.0"], [1]),
        (["dataset.classes=[0,1]", "arch=2L-c"], [0]),
        (["dataset.classes=[0, 1],[3]", "seed=2"], [2]),
        (["layers.gmm1.test_log_likelihood=101"], [1]),
        (["arch=2L"], []),
    ],
)
def test_conditions(root: Path, where: list[str], seeds: list[int]) -> None:
    assert [run.cell("seed") for run in matching(trained(root), where)] == seeds


def test_what_no_run_has_is_named_with_what_is_near(root: Path) -> None:
    runs = trained(root)
    with pytest.raises(UserError, match=r"no run here has trainer.epoch: did you mean trainer.epochs"):
        matching(runs, ["trainer.epoch=25"])
    with pytest.raises(UserError, match=r"no run here has fromat: did you mean format\?"):
        matching(runs, ["fromat=csv"], ["format", "output"])
    with pytest.raises(UserError, match=r"no run here has train_second: did you mean train_seconds"):
        tabulate(runs, ["train_second"])
    with pytest.raises(UserError, match="no run here has sed"):
        group(runs, ["sed"], None)
    with pytest.raises(UserError, match="no run here has train_second: did you mean train_seconds"):
        ordered(runs, "-train_second")
    with pytest.raises(UserError, match="sort=-speed: the table has no column speed"):
        ordered_groups(group(runs, ["seed"], None), "-speed")
    with pytest.raises(UserError, match="'seed' is no condition"):
        matching(runs, ["seed"])


def test_unfinished_and_damaged_runs_are_shown_as_what_they_are(root: Path) -> None:
    meta = {"config": {"arch": {"name": "1L", "layers": LAYERS}, "dataset": {"name": "mnist"}, "seed": 9}}
    write(root / "x" / "a", meta, None)
    (write(root / "x" / "a1", meta, None) / ".lock").touch()
    write(root / "x" / "b", meta, {"command": "train", "status": "failed", "error": "no data"})
    write(root / "x" / "c", meta, '{"command": "tr')
    write(root / "x" / "d", '{"con', None)
    write(root / "x" / "e", "[]", '{"command": "train", "status": "interrupted"}')
    (write(root / "x" / "f", None, '{"command": "train", "status": "failed", "error": "early"}') / ".hydra").mkdir()
    (root / "x" / "f" / ".hydra" / "config.yaml").write_text("arch: {name: 2L-b}\nseed: 4\n")
    with (write(root / "x" / "a2", meta, None) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table = tabulate(find_runs([str(root / "x")]), None)
    expected = ["running or killed", "killed", "running", "failed", "damaged", "damaged", "interrupted", "failed"]
    assert column(table, "status") == expected
    assert column(table, "error") == [None, None, None, "no data", None, None, None, "early"]
    assert column(table, "arch") == ["1L", "1L", "1L", "1L", "1L", None, None, "2L-b"]


@pytest.mark.parametrize(
    ("meta", "result", "status"),
    [
        ('{"config": "text"}', '{"command": "train", "status": "finished"}', "finished"),
        ('{"config": {"arch": {"layers": "text"}, "seed": [1]}}', '{"command": "train", "status": "failed"}', "failed"),
        ('{"config": {"arch": {"layers": [{"kernel": 7}]}}}', '{"status": "finished"}', "finished"),
        ('{"starts": 3}', '{"command": ["train"], "status": {"a": 1}}', "damaged"),
        ("{}", '{"command": "train", "status": 1}', "damaged"),
        ('{"starts": [{"argv": []}]}', "{}", "damaged"),
        ("{}", "", "damaged"),
        ("{}", b"\xff\xfe", "damaged"),
        ("{}", "[1]", "damaged"),
        (b"\xff\xfe", "", "damaged"),
        ("{}", None, "running or killed"),
    ],
)
def test_damaged_files_never_stop_the_table(
    root: Path, meta: str | bytes, result: str | bytes | None, status: str
) -> None:
    directory = root / "x" / "a"
    directory.mkdir(parents=True)
    for name, content in (("meta.json", meta), ("result.json", result)):
        if content is not None:
            (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (directory / ".hydra").mkdir()
    (directory / ".hydra" / "config.yaml").write_bytes(b"seed: \xff")
    (run,) = find_runs([str(root / "x")])
    assert (run.cell("status"), run.cell("command")) == (status, "train")
    runs = ordered(find_runs([str(root)]), "status")
    assert len(tabulate(runs, None).rows) == 8
    assert len(group(runs, ["seed"], "all").rows) == 4


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run under"):
        find_runs([str(tmp_path)])
    with pytest.raises(UserError, match="nowhere is no directory"):
        find_runs([str(tmp_path / "nowhere")])


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


def run_with(**results: Any) -> Run:
    return Run(Path(str(results.get("name"))), {}, {"command": "train", "status": "finished", **results})


@pytest.mark.parametrize("name", ["dunn", "layers.gmm1.test_log_likelihood", "methods.k-means.nmi", "silhouette"])
def test_more_is_better(name: str) -> None:
    table = group([run_with(**{name: value}) for value in (2.0, 1.0, 4.0)], ["command"], [name])
    assert (column(table, f"{name} worst"), column(table, f"{name} best")) == ([1.0], [4.0])


@pytest.mark.parametrize("name", ["davies_bouldin", "ndb", "quality.top_s=1.js", "seconds", "train_seconds"])
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


def test_missing_values_come_last_in_either_order() -> None:
    values = {"x": 2, "y": None, "z": 10, "w": 1.5, "t": "text", "l": [0, 1]}
    runs = [run_with(name=name, a=value) for name, value in values.items()]
    assert [run.cell("name") for run in ordered(runs, "a")] == ["w", "x", "z", "l", "t", "y"]
    assert [run.cell("name") for run in ordered(runs, "-a")] == ["t", "l", "z", "x", "w", "y"]
    table = Table(["b", "a mean"], [["x", 2], ["y", None], ["z", 10]])
    assert column(ordered_groups(table, "-a"), "b") == ["z", "x", "y"]
    assert column(ordered_groups(table, "a mean"), "b") == ["x", "z", "y"]


def test_what_is_no_number_is_missing(root: Path) -> None:
    meta = {"config": {"arch": {"name": "1L"}, "dataset": {"name": "mnist"}, "seed": 0}}
    write(root / "x" / "a", meta, '{"command": "train", "status": "finished", "seconds": NaN, "curve": [1, Infinity]}')
    write(root / "x" / "b", meta, '{"command": "train", "status": "finished", "seconds": 3}')
    runs = find_runs([str(root / "x")])
    assert [run.cell("seconds") for run in ordered(runs, "-seconds")] == [3, None]

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    rows = json.loads(as_json(tabulate(runs, ["seconds", "curve"])), parse_constant=refuse)
    assert rows == [{"seconds": None, "curve": [1, None]}, {"seconds": 3, "curve": None}]
    assert group(runs, ["seed"], ["seconds"]).rows == [[2, 1, 3.0, None, 3.0, 3.0]]


def test_formats_read_back(root: Path) -> None:
    table = Table(["name", "x | y", "n"], [["a,\nb", 1 / 3, None], ['"q"', 12345678.9, True]])
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [
        ["name", "x | y", "n"],
        ["a,\nb", str(1 / 3), ""],
        ['"q"', "12345678.9", "true"],
    ]
    assert json.loads(as_json(table)) == [
        {"name": "a,\nb", "x | y": 1 / 3, "n": None},
        {"name": '"q"', "x | y": 12345678.9, "n": True},
    ]
    lines = as_markdown(table).splitlines()
    assert lines == [
        r"| name | x \| y | n |",
        "| --- | ---: | ---: |",
        "| a, b | 0.3333 |  |",
        '| "q" | 12,345,679 | true |',
    ]
