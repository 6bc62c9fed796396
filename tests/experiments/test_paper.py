"""The whole path: `make paper-quick`, and how a start ends."""

import csv
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm.files import read_json
from experiments.paper.__main__ import main, reproduce
from experiments.paper.collect import collect
from experiments.paper.items import read_item
from experiments.paper.plan import EVERYTHING, FIRST_FIVE, ITEMS, QUICK, Study, plan
from experiments.paper.published import ARCHS
from experiments.paper.runner import Outcome, run_jobs
from experiments.paper.worker import dcgmm

REPOSITORY = Path(__file__).parents[2]
PNG_LIMIT = 300_000


def check_report(root: Path, archs: int) -> None:
    """Every table and figure is there, on one seed of some architectures on both data sets."""
    report = root / "report"
    page, html = (report / "README.md").read_text(), (report / "report.html").read_text()
    assert "not run yet" not in page
    for number in range(2, 9):
        assert re.search(rf"!\[[^]]+\]\(fig{number}[-.\w]*\.png\)", page), number
    pictures = set(re.findall(r"\]\((\S+\.png)\)", page))
    assert pictures == {path.name for path in report.glob("*.png")}
    assert all((report / name).stat().st_size < PNG_LIMIT for name in pictures)
    assert html.count('src="data:image/png') == len(pictures)
    assert html.count("<table>") == page.count("| --- |\n") > 10
    for own in (re.escape(str(root)), re.escape(str(REPOSITORY)), rf"\b{re.escape(platform.node())}\b"):
        assert not re.search(own, page), "what is the machine's own"
    rows = {
        "table2": 2 * archs,
        "fig2": 1,
        "fig3": 2 * archs,
        "fig4": archs,
        "fig7": archs,
        "fig5": 3,
        "fig8": 3,
        "fig6": 8,
    }
    for item, count in rows.items():
        with (report / f"{item}.csv").open() as file:
            assert len(list(csv.DictReader(file))) == count, item


@pytest.mark.slow  # CI takes it by `make paper-quick`
def test_the_path_to_every_table_and_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # The quick one, with as few architectures as all figures can do with.
    study = Study(tmp_path / "runs", replace(QUICK, archs=("2L-a", "2L-c")))
    report = study.root / "report"
    assert reproduce(study, [EVERYTHING], report, workers=1, quick=True) == 0
    assert capfd.readouterr().out.splitlines()[-1] == str(report / "README.md")
    check_report(study.root, archs=2)
    jobs = plan(study, [EVERYTHING])
    assert all(job.is_done() for job in jobs)
    trained = study.run("all_classes", "2L-a", "mnist", 0)
    assert read_json(trained / "result.json")["epochs"] == 3

    # Nothing is run again, and what is collected is as it was.
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    assert reproduce(study, [EVERYTHING], report, workers=1, quick=True) == 0
    assert capfd.readouterr().err.splitlines()[0] == f"0 of {len(jobs)} jobs to do, {len(jobs)} were done before"
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before
    # Models of other settings are no part of it.
    meta = study.run(FIRST_FIVE, "2L-c", "mnist", 0) / "meta.json"
    meta.write_text(meta.read_text().replace('"sigma_end": 0.01', '"sigma_end": 0.02'))
    with pytest.raises(
        InputError, match=r"seed-0 was trained with trainer.annealing.sigma_end=0.02, which is 0.01 now"
    ):
        reproduce(study, [EVERYTHING], report, workers=1, quick=True)


@pytest.mark.slow
def test_models_trained_side_by_side_serve_as_those_trained_alone(tmp_path: Path) -> None:
    # The plan for a GPU, carried out on a CPU.
    study = Study(tmp_path / "runs", replace(QUICK, archs=("1L",), seeds=2))
    jobs = [
        replace(job, on_gpu=False, arguments=tuple(word.replace("=cuda", "=cpu") for word in job.arguments))
        for job in plan(study, ["fig3"], cuda=True)
    ]
    outcome = Outcome()
    run_jobs(jobs, 1, study.root / "logs", dcgmm, outcome)
    assert not outcome.failed
    assert sorted(outcome.ran) == sorted(job.name for job in jobs)
    assert collect(study, "fig3", tmp_path)
    item = read_item(tmp_path, "fig3")
    assert item is not None
    assert [(row["dataset"], row["seed"]) for row in item.rows] == [
        (dataset, seed) for dataset in ("mnist", "fashion_mnist") for seed in (0, 1)
    ]
    assert item.rows[0]["auroc"] != item.rows[1]["auroc"]
    assert item.more["conditions"]["runs"] == 4
    assert (study.run(FIRST_FIVE, "1L", "mnist", 1) / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
def test_make_paper_quick(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.paper", EVERYTHING, "--quick", "--root", str(tmp_path / "runs")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check_report(tmp_path / "runs", archs=len(ARCHS))


def test_a_report_can_be_written_when_nothing_has_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--root", str(tmp_path / "none"), "--report", str(tmp_path / "report")]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [str(tmp_path / "report" / "README.md")]
    assert "nothing to collect yet for table2, fig2" in err
    page = (tmp_path / "report" / "README.md").read_text()
    assert page.count("missing: not run yet") == 2 * (len(ITEMS) - 1) + 1  # each item twice, and the conditions
    assert "| Table 1 | reproduced but for 1 of 8: 3L-a as printed cannot be built" in page
    assert "dcgmm cluster run=runs/paper/train/all_classes/2L-c-mnist/seed-0" in page
    assert (tmp_path / "report" / "report.html").exists()


def test_a_failure_is_named_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DCGMM_DATA", str(tmp_path / "a-file"))
    (tmp_path / "a-file").write_text("in the way")
    root = tmp_path / "runs"
    code = main(["fig2", "--seeds", "1", "--root", str(root), "--report", str(tmp_path / "report"), "--jobs", "1"])
    err = capfd.readouterr().err
    assert code == 1
    assert "failed: data mnist: could not fetch mnist" in err
    assert "not run: 2 jobs that need data mnist" in err
    assert (tmp_path / "report" / "README.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig9"], "invalid choice: 'fig9'"),
        ([], "arguments are required: TARGET"),
        (["paper", "--seeds", "0"], "a whole number of at least 1 is needed, not 0"),
        (["paper", "--jobs", "many"], "a whole number of at least 1 is needed, not many"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capfd.readouterr().err


def test_two_starts_do_not_share_a_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        given = ["--root", str(tmp_path), "--report", str(tmp_path / "report")]
        assert main(["fig2", *given]) == 2
        assert f"error: another start is at work in {tmp_path}" in capfd.readouterr().err
        assert not (tmp_path / "report").exists()
        assert main(["report", *given]) == 0  # which runs nothing


def test_a_root_that_hydra_could_not_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fig2", "--root", str(tmp_path / "a=b")]) == 2
    assert "has '=' in it: use letters, digits and" in capfd.readouterr().err


def test_a_root_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["fig2", "--root", str(tmp_path / "file"), "--report", str(tmp_path / "report")]) == 2
    assert "error: cannot write" in capfd.readouterr().err
