"""Sweeps, through the installed entry point and in this process."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dcgmm_cli.checkpoints import load_checkpoint
from dcgmm_cli.runs import read_json
from tests.commands.conftest import QUICK, Outcome, Runner
from tests.commands.test_train import SELF_SIGNAL


def directories(outcome: Outcome) -> list[Path]:
    """What each job named in its last line, in the order of the jobs' ends."""
    return [Path(line) for line in outcome.out.splitlines() if line.startswith("/")]


def seeds(outcome: Outcome) -> list[int]:
    return sorted(read_json(directory / "meta.json")["seed"] for directory in directories(outcome))


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failed_job_is_named_and_the_others_run_on(launcher: str, installed: Runner, tmp_path: Path) -> None:
    sweep = ["-m", *QUICK, "seed=3,4", "trainer.batch_size=100,1000", "hydra.sweep.dir=sweep"]
    outcome = installed("train", *sweep, f"hydra/launcher={launcher}")
    assert outcome.code == 2, outcome.err
    *_, head, first, second = outcome.err.splitlines()
    assert head == "sweep of 4 jobs: 2 finished, 2 failed"
    for line in (first, second):
        assert line.startswith("  failed: ")
        assert "trainer.batch_size=1000 " in line
        assert line.endswith(": trainer.batch_size=1000 is larger than the data: 300 training images")
    results = [read_json(path) for path in sorted((tmp_path / "sweep").glob("*/result.json"))]
    assert sorted(result["status"] for result in results) == ["failed", "failed", "finished", "finished"]
    assert not list(tmp_path.rglob(".sweeps"))
    assert (tmp_path / "runs" / "latest").resolve().parent == tmp_path / "sweep"
    if launcher == "joblib":
        # One thread each: as many jobs as cores.
        devices = [read_json(path)["starts"][0]["device"] for path in (tmp_path / "sweep").glob("*/meta.json")]
        assert set(devices) == {"cpu, 1 threads"}


def test_each_job_has_a_directory_of_its_own(dcgmm: Runner, tmp_path: Path) -> None:
    outcome = dcgmm("train", "-m", *QUICK, "seed=0,1", "dataset.classes=[0,1],[2,3]", "dataset.limit=600")
    assert outcome.code == 0, outcome.err
    found = directories(outcome)
    assert len(set(found)) == 4
    assert {path.parent for path in found} == {tmp_path / "runs" / "custom-mnist_sample"}
    assert seeds(outcome) == [0, 0, 1, 1]


def test_a_sweep_given_again_does_what_is_missing(dcgmm: Runner) -> None:
    given = ["-m", *QUICK, "hydra.sweep.dir=sweep"]
    first = dcgmm("train", *given, "seed=0,1")
    assert first.code == 0, first.err
    before = {path: (path / "checkpoints" / "last.pt").stat().st_mtime_ns for path in directories(first)}
    again = dcgmm("train", *given, "seed=0,1,2", "trainer.threads=1")
    assert again.code == 0, again.err
    assert "sweep of 3 jobs: 3 finished" in again.err  # threads are among a job's overrides: other directories
    once_more = dcgmm("train", *given, "seed=0,1,2")
    assert "sweep of 3 jobs: 1 finished, 2 skipped (done before)" in once_more.err
    assert seeds(once_more) == [0, 1, 2]
    assert before == {path: (path / "checkpoints" / "last.pt").stat().st_mtime_ns for path in before}


def test_an_interrupted_job_goes_on_from_its_checkpoint(dcgmm: Runner, tmp_path: Path) -> None:
    given = ["-m", *QUICK, "seed=5"]
    whole = directories(dcgmm("train", *given))[0]
    begun = directories(dcgmm("train", *given, "hydra.sweep.dir=sweep"))[0]
    # As a job that was killed in its last epoch leaves its directory.
    state = load_checkpoint(whole)
    stopped = directories(dcgmm("train", *given, "trainer.epochs=1"))[0]
    (stopped / "checkpoints" / "last.pt").replace(begun / "checkpoints" / "last.pt")
    (begun / "result.json").unlink()
    lines = (begun / "metrics.jsonl").read_text().splitlines()
    again = dcgmm("train", *given, "hydra.sweep.dir=sweep")
    assert again.code == 0, again.err
    assert "going on at step 3 of 6" in again.err
    for name, value in load_checkpoint(begun)["model"].items():
        assert torch.equal(value, state["model"][name])
    assert (begun / "metrics.jsonl").read_text().splitlines()[-1] == lines[-1]


def test_another_configuration_is_not_taken_for_the_same(dcgmm: Runner) -> None:
    given = ["-m", *QUICK, "seed=5", "hydra.sweep.dir=sweep"]
    directory = directories(dcgmm("train", *given))[0]
    meta = read_json(directory / "meta.json")
    meta["config"]["gmm"]["loc_range"] = 0.5
    (directory / "meta.json").write_text(json.dumps(meta))
    outcome = dcgmm("train", *given)
    assert outcome.code == 2
    assert "holds a run with gmm.loc_range=0.5, not 0.01: give the sweep another hydra.sweep.dir" in outcome.err
    assert read_json(directory / "result.json")["status"] == "finished"


def test_follow_ups_sweep_over_options_and_over_all_models_of_a_directory(dcgmm: Runner, tmp_path: Path) -> None:
    models = directories(dcgmm("train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=my sweep"))
    options = ["sampling.count=4", "quality.count=0"]
    outcome = dcgmm("sample", "run=my sweep", *options)
    assert outcome.code == 0, outcome.err
    assert sorted(path.parents[1] for path in directories(outcome)) == sorted(models)
    outcome = dcgmm("sample", "-m", f"run='{models[0]}'", "sampling.top_s=1,2", *options)
    assert len(set(directories(outcome))) == 2
    assert {path.parents[1] for path in directories(outcome)} == {models[0]}
    replicas = dcgmm("train", *QUICK, "trainer.replicas=2").directory
    outcome = dcgmm("visualize", "images=0")  # run=latest
    assert outcome.code == 0, outcome.err
    assert {path.parents[1] for path in directories(outcome)} == set((replicas / "replicas").iterdir())
    missing = dcgmm("sample", f"run={tmp_path / 'nowhere'}")
    assert missing.code == 2
    assert "no run directory there" in missing.err


def test_ctrl_c_stops_the_sweep(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SELF_SIGNAL, str(int(signal.SIGINT)), "4", "train", "-m", *QUICK, "seed=0,1,2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-3] == "dcgmm train: interrupted"
    assert done.stderr.splitlines()[-2] == "sweep of 1 jobs: 0 finished, 1 failed"
    (result,) = tmp_path.glob("runs/custom-mnist_sample/*/result.json")
    assert read_json(result)["status"] == "interrupted"


def test_a_launcher_that_is_not_installed(dcgmm: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = dcgmm("train", "-m", *QUICK, "hydra/launcher=joblib")
    assert outcome.code == 2
    assert outcome.err == (
        "error: hydra/launcher=joblib is not installed: pip install 'dcgmm[sweep]', or leave it out\n"
    )
