"""What commands say of a training run that has not come to its end, or is not where it was."""

import shutil
from pathlib import Path

import pytest

from dcgmm.checkpoints import load_run
from dcgmm.files import read_json, write_json
from dcgmm_cli.records import alone
from dcgmm_cli.results.reading import read_run
from dcgmm_cli.runs import META, RESULT, to_go_on
from dcgmm_cli.trained import warn_if_unfinished
from tests.dcgmm_cli.commands.conftest import Runner

KEPT = {META, RESULT, "checkpoints", "last.pt", "detector.pt"}


@pytest.fixture
def own(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the shared run, without what was done with it."""
    run = tmp_path / "a run"
    shutil.copytree(tiny_run, run, ignore=lambda _, names: {*names} - KEPT)
    return run


def said(run: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    warn_if_unfinished(load_run(run))
    return [record.getMessage() for record in caplog.records]


def test_a_run_that_is_trained_further_is_none_of_its_first_end(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert said(own, caplog) == []
    # As one leaves it that was to go on to step 60, and was killed before its first checkpoint.
    (own / RESULT).unlink()
    assert said(own, caplog) == []
    meta = read_json(own / META)
    assert meta["planned_steps"] == 6
    write_json(own / META, meta | {"planned_steps": 60})
    advice = f"go on with: dcgmm train 'run={own}'"
    assert said(own, caplog) == [f"{own} was interrupted at step 6 of 60; {advice}"]
    write_json(own / RESULT, {"command": "train", "status": "failed"})
    assert said(own, caplog) == [f"{own} failed at step 6 of 60; {advice}"]
    (own / RESULT).unlink()
    with alone(own):
        assert said(own, caplog) == [f"{own} is still in training: its model is that of step 6 of 60"]


def test_follow_ups_warn_of_a_run_that_was_stopped(own: Path, dcgmm: Runner) -> None:
    write_json(own / RESULT, {"command": "train", "status": "interrupted"})
    write_json(own / META, read_json(own / META) | {"planned_steps": 60})
    flat = dcgmm("sample", f"run={own}", "quality.count=0", "sampling.count=2")
    assert flat.code == 0, flat.err
    (line,) = flat.err.splitlines()
    assert line == f"warning: {own} was interrupted at step 6 of 60; go on with: dcgmm train 'run={own}'"


def test_models_side_by_side_that_were_stopped_go_on_together(own: Path, dcgmm: Runner) -> None:
    home = own / "replicas" / "seed-0"
    home.mkdir(parents=True)
    shutil.copy(own / META, home / META)
    write_json(own / RESULT, {"command": "train", "status": "interrupted"})
    assert read_run(home).results["status"] == "interrupted"
    for words in (("sample", own), ("sample", home), ("sample", "-m", own), ("train", home)):
        outcome = dcgmm(*words[:-1], f"run={words[-1]}")
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1].endswith(f"go on with: dcgmm train 'run={own}'")
    assert not (home / "sample").exists()
    voted = dcgmm("outliers", f"run={own}", f"outliers.voters=[{home}]")
    assert voted.err.splitlines()[-1].endswith(f"go on with: dcgmm train 'run={own}'")
    (own / RESULT).unlink()
    with alone(own):
        assert read_run(home).results["status"] == "running"
    write_json(own / RESULT, {"command": "train", "status": "finished"})
    with alone(home):  # it goes on alone
        assert read_run(home).results["status"] == "running"
    assert to_go_on(home) == f"dcgmm train 'run={home}'"


def test_what_was_stopped_before_its_first_checkpoint_cannot_be_gone_on_with(own: Path, dcgmm: Runner) -> None:
    shutil.rmtree(own / "checkpoints")
    outcome = dcgmm("train", f"run={own}")
    assert outcome.code == 2
    assert outcome.err == f"error: {own} has no checkpoint (checkpoints/last.pt) to go on from: train anew\n"


def test_the_run_that_stands_in_for_a_lost_one_is_named(own: Path, installed: Runner, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(own, runs / "1L-mnist" / "older")
    (runs / "latest").symlink_to("1L-mnist/moved")
    shown = installed("visualize", "images=0")
    assert shown.code == 0, shown.err
    first, second = shown.err.splitlines()
    lost = "runs/latest leads nowhere (1L-mnist/moved was moved or removed): run=latest takes runs/1L-mnist/older"
    assert first == f"warning: {lost}"
    assert second == f"run=latest is {runs}/1L-mnist/older"
