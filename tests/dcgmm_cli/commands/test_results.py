import contextlib
import errno
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dcgmm.files import write_json
from dcgmm_cli.commands.results import Column, _fold_name, _widths
from tests.dcgmm_cli.commands.conftest import QUICK, Runner


def test_a_table_over_runs(installed: Runner, dcgmm: Runner, tmp_path: Path) -> None:
    for seed in (0, 1):
        assert dcgmm("train", *QUICK, f"seed={seed}").code == 0
        assert dcgmm("outliers", "run=latest", "outliers.dataset=fashion_mnist_sample", "outliers.count=0").code == 0
    shown = installed("results")
    assert shown.code == 0, shown.err
    rows = [[cell.strip() for cell in line.split("│")] for line in shown.out.splitlines() if line.startswith("│")]
    heads = [[cell.strip() for cell in line.split("┃")] for line in shown.out.splitlines() if line.startswith("┃")]
    place = next(head.index("seed") for head in heads if "seed" in head)  # what stands before it hangs on the room
    assert [row[place] for row in rows if row[place]] == ["0", "1"]
    assert max(map(len, shown.out.splitlines())) <= 120
    # As `run=` takes them.
    for name in (row[1] for row in rows if row[1]):
        assert dcgmm("show", f"run={name}").code == 0

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
    assert [line.split(",")[4] for line in lines] == ["seed", "1", "0"]
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
    assert rows == [["0", "close [/x], write [arch] :smile:"], ["1", "two lines"]]


@pytest.mark.parametrize("width", [200, 110, 60])
def test_a_terminal_has_a_width(width: int, tmp_path: Path) -> None:
    error = "more than there is room for"
    outcomes: list[dict[str, object]] = [{"layers": {"gmm1": {"test_log_likelihood": 12345.6}}}, {"error": error}]
    for number, result in enumerate(outcomes):
        directory = tmp_path / "runs" / f"some-architecture-{'x' * 30}" / f"name-{number}"
        directory.mkdir(parents=True)
        (directory / "result.json").write_text(json.dumps({"command": "train", "status": "failed", **result}))
    terminal, end = pty.openpty()
    command = [str(Path(sys.executable).parent / "dcgmm"), "results"]
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "dumb"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=end, stderr=subprocess.PIPE) as process:
        os.close(end)
        with open(terminal, encoding="utf-8", newline="") as reader:
            text = ""
            with contextlib.suppress(OSError):  # the other end is closed
                while more := reader.readline():
                    text += more
        assert process.stderr is not None
        told = process.stderr.read().decode()
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert cells[0][-1] == "12,346"
    assert cells[0][0] == "name-0"
    assert " ".join(row[-2] for row in cells).strip() == error
    assert (len(lines[0]) <= width) == (width > 60)
    assert told == (
        "" if width > 60 else f"the table is {len(lines[0])} wide, the terminal 60: columns=[...] chooses\n"
    )


def test_long_names_of_short_columns_are_folded() -> None:
    columns = {"layers.gmm1.sigma": Column(True, 1, ["1"]), "seed": Column(True, 1, ["2"])}
    assert _widths(columns, 10) == [7, 4]
    assert _fold_name("layers.gmm1.sigma mean", 12) == "layers.gmm1.\nsigma mean"


def test_what_there_is_no_room_for_is_named(installed: Runner, tmp_path: Path) -> None:
    for number in range(2):
        directory = tmp_path / "runs" / "1L-mnist" / str(number)
        directory.mkdir(parents=True)
        config = {"arch": {"name": "1L"}, **{f"setting{n}": f"value {n * number}" for n in range(9)}}
        (directory / "meta.json").write_text(json.dumps({"config": config}))
        (directory / "result.json").write_text('{"command": "train", "status": "finished", "train_seconds": 1.5}')
    shown = installed("results", COLUMNS="72")
    assert max(map(len, shown.out.splitlines())) <= 72
    assert "train_" in shown.out
    assert "setting1 " in shown.out
    assert shown.err.startswith("no room for setting8, ")
    chosen = installed("results", "columns=[run,setting1,setting8]", "sort=-setting8", COLUMNS="60")
    assert "value 8" in chosen.out
    assert not chosen.err


def test_flags_of_hydra_are_no_directories(dcgmm: Runner) -> None:
    shown = dcgmm("results", "some/runs", "--cfg", "job", "status=failed")
    assert shown.code == 0, shown.err
    assert "paths:\n- some/runs\nwhere:\n- status=failed\n" in shown.out
    assert "usage: dcgmm results [DIR ...] [key=value ...]" in dcgmm("results", "--help").out


def test_mistakes(installed: Runner, dcgmm: Runner, tmp_path: Path) -> None:
    installed("results").check_refused("runs")
    assert dcgmm("train", *QUICK).code == 0
    for arguments, named in {
        ("runs", "seeed=0"): "seeed: seed",
        ("format=html",): "format=html: table csv markdown json",
        ("output=x.csv",): "output=x.csv format=csv",
        ("seed=5",): "command=train seed=5",
        ("sort=nothing",): "nothing",
        ("group=seed", "sort=nothing"): "sort=nothing: nothing",
        ("fromat=csv",): "fromat: format",
        ("columns=arch,seed",): "columns=arch,seed columns=[arch,seed]",
        ("columns=5",): "5",
        ("-m", "group=seed,arch"): "results -m: arch=1L,2L-c",
        ("format=csv", "output=runs"): "runs: directory",
    }.items():
        dcgmm("results", *arguments).check_refused(*named.split())
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def _refuse(path: Path) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def test_starts_that_failed_are_shown_and_removed(
    dcgmm: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    write_json(root / "1L-mnist" / "trained" / "meta.json", {})
    write_json(root / "1L-mnist" / "trained" / "figures" / "x.json", {})
    failed = root / "1L-mnist" / "failed"
    write_json(failed / "result.json", {"command": "train", "status": "failed"})
    (failed / ".lock").touch()
    before = sorted(path for path in root.rglob("*") if failed not in (path, *path.parents))
    shown = dcgmm("results", str(root), "prune=show")
    assert (shown.code, shown.out.splitlines()) == (0, [str(failed)])
    assert failed.is_dir()
    with monkeypatch.context() as patch:  # as on a read-only disk
        patch.setattr("shutil.rmtree", _refuse)
        kept = dcgmm("results", str(root), "prune=remove")
    assert kept.out.splitlines() == [str(failed)]
    kept.check_refused("1 of 1", failed, os.strerror(errno.EROFS), alone=False)
    removed = dcgmm("results", str(root), "prune=remove")
    assert (removed.code, removed.out.splitlines()) == (0, [f"{failed} is removed"])
    assert sorted(root.rglob("*")) == before
    refused = dcgmm("results", str(root), "prune=remove", "arch=1L")
    refused.check_refused("prune=remove", "arch=1L")
