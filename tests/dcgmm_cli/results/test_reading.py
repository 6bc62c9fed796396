import fcntl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm_cli.results.grouping import group
from dcgmm_cli.results.reading import find_runs
from dcgmm_cli.results.selecting import matching, ordered, tabulate
from tests.dcgmm_cli.results.conftest import AUROC, LAYERS, change, column, trained, training, write


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
    write(tmp_path / "sweep" / "job-1", {"command": "outliers", "config": config}, None)
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


def test_half_a_surrogate_pair_in_a_start_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / "a", {"command": "\ud800"}, None)
    (run,) = find_runs([str(tmp_path)])
    assert run.cell("command") == r"\ud800"


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run under"):
        find_runs([str(tmp_path)])
    with pytest.raises(InputError, match="nowhere is no directory"):
        find_runs([str(tmp_path / "nowhere")])


def test_layers_are_written_as_in_the_paper_and_damaged_ones_as_they_are(root: Path) -> None:
    change(root / "1L-mnist" / "run-0", arch__layers=[*LAYERS, {"type": "pooling", "kernel": [2, 2]}])
    change(root / "1L-mnist" / "run-1", arch__layers=[{"type": "power", "exponent": 0.3}, LAYERS[1], 5])
    runs = trained(root)
    assert runs[0].cell("arch.layers") == "F(28,28,1,1) G(25) P(2,2)"
    assert runs[1].cell("arch.layers") == "{'type': 'power', 'exponent': 0.3} G(25) 5"


def test_what_a_follow_up_leaves_open_is_its_runs(root: Path) -> None:
    run = root / "1L-mnist" / "run-0"
    change(run, dataset__path="/data")
    change(run / "outliers" / "a", dataset={"path": None})
    (alone,) = find_runs([str(run / "outliers")])
    assert (alone.cell("dataset"), alone.cell("dataset.path")) == ("mnist", "/data")


def test_when_a_run_started(root: Path) -> None:
    meta = {"config": {}, "starts": [{"time": "2026-01-31T12:00:00+00:00"}, {"time": "2026-02-01T12:00:00+00:00"}]}
    write(root / "a" / "told", meta, None)
    write(root / "a" / "2025-12-24_18-30-59-abc123", {"starts": [{"time": 7}]}, None)
    write(root / "a" / "neither", {"starts": "x"}, None)
    told = f"{datetime(2026, 1, 31, 12, tzinfo=UTC).astimezone():%Y-%m-%d %H:%M}"
    runs = ordered(find_runs([str(root / "a")]), "-date")
    assert [run.cell("date") for run in runs] == [told, "2025-12-24 18:30", None]
