import json
from pathlib import Path

from tests.commands.conftest import QUICK, Runner


def test_a_table_over_runs(installed: Runner, dcgmm: Runner, tmp_path: Path) -> None:
    for seed in (0, 1):
        assert dcgmm("train", *QUICK, f"seed={seed}").code == 0
        assert dcgmm("outliers", "run=latest", "outliers.dataset=fashion_mnist_sample", "outliers.count=0").code == 0
    assert dcgmm("train", *QUICK, "seed=2", "trainer.batch_size=10000").code == 2
    shown = installed("results")
    assert shown.code == 0, shown.err
    rows = [line.split("│") for line in shown.out.splitlines() if line.startswith("│")]
    assert [row[4].strip() for row in rows] == ["0", "1", "2"]
    assert "is larger than the data" in shown.out

    done = installed("results", "runs", "command=outliers", "group=seed", "columns=[arch,auroc.top]", "format=json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    values = [json.loads(path.read_text())["auroc"]["top"] for path in tmp_path.glob("runs/*/*/outliers/*/result.json")]
    assert row["runs"] == 2
    assert (row["auroc.top worst"], row["auroc.top best"]) == (min(values), max(values))

    written = installed("results", "format=csv", "output=tables/runs.csv", "status=finished", "sort=-seed")
    assert written.code == 0, written.err
    assert written.out.strip() == "tables/runs.csv"
    lines = (tmp_path / "tables" / "runs.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in lines] == ["seed", "1", "0"]
    assert not list(tmp_path.glob("outputs")) + list(tmp_path.glob(".hydra"))


def test_a_sweep_in_a_directory_of_its_own(installed: Runner, dcgmm: Runner, tiny_run: Path) -> None:
    swept = dcgmm("cluster", "-m", f"run={tiny_run}", "seed=7", "cluster.count=100", "hydra.sweep.dir=swept")
    assert swept.code == 0, swept.err
    shown = installed("results", "swept", "command=cluster", "columns=[arch,seed,cluster.seed]", "format=json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out) == [{"arch": "custom", "seed": 0, "cluster.seed": 7}]


def test_texts_are_shown_as_they_are(installed: Runner, tmp_path: Path) -> None:
    for number, error in enumerate(["close [/x], write [arch] :smile:", "two\nlines"]):
        directory = tmp_path / "runs" / "1L-mnist" / str(number)
        directory.mkdir(parents=True)
        (directory / "result.json").write_text(json.dumps({"command": "train", "status": "failed", "error": error}))
    shown = installed("results", "columns=[run,error]")
    assert shown.code == 0, shown.err
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.out.splitlines() if "│" in line]
    assert rows == [["runs/1L-mnist/0", "close [/x], write [arch] :smile:"], ["runs/1L-mnist/1", "two lines"]]


def test_flags_of_hydra_are_no_directories(dcgmm: Runner) -> None:
    shown = dcgmm("results", "some/runs", "--cfg", "job", "status=failed")
    assert shown.code == 0, shown.err
    assert "paths:\n- some/runs\nwhere:\n- status=failed\n" in shown.out
    assert "usage: dcgmm results [DIR ...] [key=value ...]" in dcgmm("results", "--help").out


def test_mistakes(installed: Runner, dcgmm: Runner, tmp_path: Path) -> None:
    missing = installed("results")
    assert missing.code == 2
    assert missing.err.strip() == "error: runs is no directory; give the directories that hold the runs"
    assert dcgmm("train", *QUICK).code == 0
    for arguments, message in {
        ("runs", "seeed=0"): "no run here has seeed: did you mean seed",
        ("format=html",): "format=html is unknown; choose table, csv, markdown, json",
        ("output=x.csv",): "output=x.csv needs a format for files",
        ("seed=5",): "no run here has command=train and seed=5",
        ("sort=nothing",): "no run here has nothing",
        ("group=seed", "sort=nothing"): "the table has no column nothing",
        ("fromat=csv",): "no run here has fromat: did you mean format?",
        ("columns=arch,seed",): "columns=arch,seed gives several values: write columns=[arch,seed] for a list",
        ("columns=5",): "no run here has 5",
        ("-m", "group=seed,arch"): "dcgmm results makes one table: leave out -m",
        ("format=csv", "output=runs"): "cannot write runs: Is a directory",
    }.items():
        outcome = dcgmm("results", *arguments)
        assert outcome.code == 2, arguments
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
