"""Sweeps, through the installed entry point and in this process."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from dcgmm.checkpoints import load_run, read_state
from dcgmm.files import CHECKPOINT, read_json
from tests.dcgmm_cli.commands.conftest import QUICK, Outcome, Runner
from tests.dcgmm_cli.commands.test_train import SELF_SIGNAL
from tests.refusals import check_names


def directories(outcome: Outcome) -> list[Path]:
    """What each job named in its last line, in the order of the jobs' ends."""
    return [Path(line) for line in outcome.out.splitlines() if line.startswith("/")]


def seeds(outcome: Outcome) -> list[int]:
    return sorted(read_json(directory / "meta.json")["seed"] for directory in directories(outcome))


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failed_job_is_named_and_the_others_run_on(launcher: str, installed: Runner, tmp_path: Path) -> None:
    sweep = ["-m", *QUICK, "trainer.batch_size=1000,100", "hydra.sweep.dir=sweep"]
    outcome = installed("train", *sweep, f"hydra/launcher={launcher}", OMP_NUM_THREADS=None)
    assert outcome.code == 2, outcome.err
    *_, head, line = outcome.err.splitlines()
    assert head == "sweep of 2 jobs: 1 finished, 1 failed"
    assert line.startswith("  #0 failed: ")
    check_names(line, "trainer.batch_size=1000", "trainer.batch_size", 300, 1000)
    found = directories(outcome)
    assert {path.parent for path in found} == {tmp_path / "sweep"}
    status = {path: read_json(path / "result.json")["status"] for path in found}
    assert sorted(status.values()) == ["failed", "finished"]
    (finished,) = (path for path in found if status[path] == "finished")
    # What was typed is known in the processes of the jobs too.
    typed = ["dcgmm", "train", *sweep, f"hydra/launcher={launcher}"]
    assert read_json(finished / "meta.json")["starts"][0]["argv"] == typed
    assert (tmp_path / "runs" / "latest").resolve() == finished
    assert not list(tmp_path.rglob(".sweeps"))
    if launcher != "submitit_local":
        assert "#0 error: trainer.batch_size " in outcome.err
    if launcher != "basic":
        # One thread each: with joblib as many jobs as cores, with submitit_local all at once.
        assert read_json(finished / "meta.json")["starts"][0]["device"] == "cpu, 1 threads"


def test_threads_that_are_given_are_kept(installed: Runner) -> None:
    given = ["+hydra.job.env_set.OMP_NUM_THREADS=2", "+hydra.job.env_set.TERM=xterm", "hydra/launcher=submitit_local"]
    outcome = installed("train", "-m", *QUICK, *given, OMP_NUM_THREADS=None)
    assert outcome.code == 0, outcome.err
    assert read_json(outcome.directory / "meta.json")["starts"][0]["device"] == "cpu, 2 threads"


def test_each_job_has_a_directory_of_its_own(dcgmm: Runner, tmp_path: Path) -> None:
    outcome = dcgmm("train", "-m", *QUICK, "dataset.classes=[0,1],[2,3]", "dataset.limit=600")
    assert outcome.code == 0, outcome.err
    found = directories(outcome)
    assert len(set(found)) == 2
    assert {path.parent for path in found} == {tmp_path / "runs" / "custom-mnist_sample"}
    classes = [read_json(path / "meta.json")["config"]["dataset"]["classes"] for path in found]
    assert classes == [[0, 1], [2, 3]]


def test_a_sweep_with_its_own_directory_finds_its_jobs_again(dcgmm: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    study = "# @package _global_\nhydra: {sweep: {dir: runs/study}}\n"
    (tmp_path / "mine" / "experiment" / "study.yaml").write_text(study)
    in_file = ["--config-dir", "mine", "+experiment=study"]
    skipped = "0 finished, 1 skipped (done before)"
    for given, status in [
        (["hydra.sweep.dir=runs/study"], "1 finished"),
        (["hydra.sweep.dir='${runs_dir}/study'"], skipped),
        (in_file, "1 finished"),  # the file is among the job's overrides
        (in_file, skipped),
    ]:
        outcome = dcgmm("train", "-m", *QUICK, *given)
        assert outcome.code == 0, outcome.err
        assert outcome.err.splitlines()[-1] == f"sweep of 1 job: {status}"
        assert outcome.directory.parent == tmp_path / "runs" / "study"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "runs"]
    # Its directories' names are of use as they are.
    outcome = dcgmm("visualize", f"run={outcome.directory.name}", "images=0")
    assert outcome.code == 0, outcome.err


def test_a_sweep_given_again_does_what_is_missing(dcgmm: Runner) -> None:
    given = ["-m", *QUICK, "hydra.sweep.dir=sweep"]
    first = dcgmm("train", *given, "seed=0,1")
    assert first.code == 0, first.err
    before = {path: (path / "checkpoints" / "last.pt").stat().st_mtime_ns for path in directories(first)}
    again = dcgmm("train", *given, "seed=0,1,2")
    assert again.code == 0, again.err
    assert again.err.splitlines()[-1] == "sweep of 3 jobs: 1 finished, 2 skipped (done before)"
    assert seeds(again) == [0, 1, 2]
    assert before == {path: (path / "checkpoints" / "last.pt").stat().st_mtime_ns for path in before}


def test_an_interrupted_job_goes_on_from_its_checkpoint(dcgmm: Runner, tmp_path: Path) -> None:
    given = ["-m", *QUICK, "seed=5"]
    whole = directories(dcgmm("train", *given))[0]
    begun = directories(dcgmm("train", *given, "hydra.sweep.dir=sweep"))[0]
    # As a job that was killed in its last epoch leaves its directory.
    model = load_run(whole).model
    stopped = directories(dcgmm("train", *given, "trainer.epochs=1"))[0]
    (stopped / "checkpoints" / "last.pt").replace(begun / "checkpoints" / "last.pt")
    (begun / "result.json").unlink()
    lines = (begun / "metrics.jsonl").read_text().splitlines()
    again = dcgmm("train", *given, "hydra.sweep.dir=sweep")
    assert again.code == 0, again.err
    assert "going on at step 3 of 6" in again.err
    for name, value in load_run(begun).model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    assert (begun / "metrics.jsonl").read_text().splitlines()[-1] == lines[-1]


def test_another_configuration_is_not_taken_for_the_same(dcgmm: Runner) -> None:
    given = ["-m", *QUICK, "seed=5", "hydra.sweep.dir=sweep"]
    directory = directories(dcgmm("train", *given))[0]
    meta = read_json(directory / "meta.json")
    meta["config"]["gmm"]["loc_range"] = 0.5
    (directory / "meta.json").write_text(json.dumps(meta))
    outcome = dcgmm("train", *given)
    assert outcome.code == 2
    check_names(outcome.err.splitlines()[-1], "gmm.loc_range=0.5", 0.01, "hydra.sweep.dir")
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
    outcome = dcgmm("sample", "-m", "run='my sweep',nowhere", "sampling.top_s=1,2", *options)
    assert outcome.code == 2
    *_, again, head, jobs = outcome.err.splitlines()
    assert again == "#5 error: failed as another job did"
    assert head == "sweep of 6 jobs: 4 finished, 2 failed"
    assert jobs.startswith("  #4, #5 failed: run=nowhere: ")
    outcome = dcgmm("sample", f"run={models[0].name},{models[1].name}", *options)
    outcome.check_refused(f"run={models[0].name},{models[1].name}", "-m")
    replicas = dcgmm("train", *QUICK, "trainer.replicas=2").directory
    outcome = dcgmm("visualize", "images=0")  # run=latest
    assert outcome.code == 0, outcome.err
    assert {path.parents[1] for path in directories(outcome)} == set((replicas / "replicas").iterdir())
    dcgmm("sample", f"run={tmp_path / 'nowhere'}").check_refused(f"run={tmp_path / 'nowhere'}", "latest")


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.slow)])
def test_a_follow_up_whose_run_is_missing_fails_alone(
    launcher: str, installed: Runner, tiny_run: Path, tmp_path: Path
) -> None:
    options = ["sampling.count=4", "quality.count=0", f"hydra/launcher={launcher}"]
    outcome = installed("sample", "-m", f"run=nowhere,{tiny_run}", *options)
    assert outcome.code == 2
    *_, head, line = outcome.err.splitlines()
    assert head == "sweep of 2 jobs: 1 finished, 1 failed"
    assert line.startswith("  #0 failed: run=nowhere ")
    check_names(line, ": run=nowhere:", "latest")
    status = {path: read_json(path / "result.json")["status"] for path in directories(outcome)}
    assert sorted(status.values()) == ["failed", "finished"]
    for path, each in status.items():
        assert path.parent == (tmp_path / "runs" if each == "failed" else tiny_run) / "sample"


def test_paths_with_special_characters(dcgmm: Runner, tmp_path: Path) -> None:
    home = tmp_path / "my runs (1), a=b"
    runs = [dcgmm("train", *QUICK, f"seed={seed}", f"hydra.run.dir='{home / str(seed)}'").directory for seed in (0, 1)]
    for given in (str(runs[0]), f"'{runs[0]}'"):  # one alone needs no quotes of its own
        outcome = dcgmm("visualize", f"run={given}", "images=0")
        assert outcome.code == 0, outcome.err
        assert outcome.directory.parents[1] == runs[0]
    outcome = dcgmm("visualize", "-m", f"run={runs[0]},{runs[1]}", "images=0")
    outcome.check_refused(f"run={runs[0]},{runs[1]}", "key='value'", "key='one','other'")
    outcome = dcgmm("visualize", "-m", f"run='{runs[0]}','{runs[1]}'", "images=0", "hydra.sweep.dir=sweep")
    assert outcome.code == 0, outcome.err
    assert [path.name[:6] for path in directories(outcome)] == ["images", "images"]
    assert len(set(directories(outcome))) == 2


def test_a_path_in_which_hydra_would_resolve_something(
    dcgmm: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "a${b} ${oc.env:HOME}"
    here.mkdir()
    monkeypatch.chdir(here)
    swept = dcgmm("train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep")
    assert swept.code == 0, swept.err
    models = directories(swept)
    assert {path.parent for path in models} == {here / "sweep"}
    for words in (
        ["train", f"run={models[0]}", "trainer.epochs=3"],
        ["visualize", "images=0"],
        ["visualize", "run=sweep", "images=0"],
        ["show", f"run={models[0]}", "format=html"],
        ["compare", f"run={models[0]}", f"run={models[1]}"],
    ):
        outcome = dcgmm(*words)
        assert outcome.code == 0, outcome.err
    assert [path.name for path in tmp_path.iterdir()] == [here.name]


def test_train_goes_on_with_one_run_only(dcgmm: Runner, tmp_path: Path) -> None:
    outcome = dcgmm("train", "-m", "run=a,b")
    outcome.check_refused("run=...", "one", "-m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["+foo=1", "+foo=1,2", "++trainer.foo=1", "foo=1"])
def test_an_unknown_key_is_refused_before_any_job_starts(given: str, dcgmm: Runner, tmp_path: Path) -> None:
    outcome = dcgmm("train", "-m", *QUICK, given, "seed=0,1")
    outcome.check_refused(given.partition("=")[0].lstrip("+"), "--help")
    assert not outcome.out
    assert not [path for path in tmp_path.glob("runs/*") if path.is_dir()]


OBJECTIVE = ["sweep.objective=layers.gmm1.test_log_likelihood", "dataset.holdout=0.1"]


def test_the_best_job_is_named_with_its_command(dcgmm: Runner) -> None:
    given = ["train", "-m", *QUICK, *OBJECTIVE, "trainer.learning_rate.start=0.04,0.1", "hydra.sweep.dir=runs/few"]
    first, again = dcgmm(*given), dcgmm(*given)  # of jobs that were done before, too
    for outcome in (first, again):
        assert outcome.code == 0, outcome.err
        best = outcome.err.splitlines()[-1]
        assert best.startswith("largest layers.gmm1.test_log_likelihood of 2 jobs: ")
        assert " by dcgmm train " in best
        assert "trainer.learning_rate.start=0.1" in best
    assert "2 skipped" in again.err


def test_a_job_that_fails_has_reached_nothing(dcgmm: Runner) -> None:
    outcome = dcgmm("train", "-m", *QUICK, *OBJECTIVE, "trainer.batch_size=100,5000")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("largest layers.gmm1.test_log_likelihood of 1 job: ")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            ["sweep.objective=layers.gmm1.test_log_likelihood"],
            "sweep.objective dataset.holdout=0.1 layers.gmm1.test_log_likelihood",
        ),
        (["sweep.objective=layers.gmm3.train_log_likelihood"], "sweep.objective 2 layers.gmm3.train_log_likelihood"),
        (
            ["sweep.objective=density.nats", "dataset.holdout=0.1", "trainer.epochs=1"],
            "sweep.objective=density.nats: result.json layers.gmm1.test_log_likelihood",
        ),
        (["sweep.objective=auroc"], "sweep.objective layers.gmm1.test_log_likelihood auroc"),
        (["hydra/sweeper=optuna"], "hydra/sweeper=optuna sweep.objective dataset.holdout=0.1"),
        (["hydra/sweeper=optuna", *OBJECTIVE, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials 1 0"),
        (["hydra/sweeper=optuna", *OBJECTIVE, "hydra.sweeper.n_jobs=-1"], "hydra.sweeper.n_jobs 1 -1"),
        (["hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size 1 0"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs 1 0"),
    ],
)
def test_an_objective_that_cannot_be(given: list[str], named: str, dcgmm: Runner) -> None:
    dcgmm("train", "-m", *QUICK, *given, "seed=0").check_refused(*named.split(), alone=False)


@pytest.mark.slow
def test_a_study_in_which_all_jobs_fail(installed: Runner, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    given = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "trainer.batch_size=choice(5000,6000)"]
    outcome = installed("train", "-m", *given, *QUICK, *OBJECTIVE)
    assert outcome.code == 2
    assert "internal error" not in outcome.err
    assert "sweep of 2 jobs: 0 finished, 2 failed" in outcome.err


@pytest.mark.slow
def test_a_study_searches_and_goes_on(installed: Runner, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    given = ["train", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=runs/study", *QUICK]
    given += [*OBJECTIVE, "trainer.learning_rate.start=interval(0.05,0.2)", "trainer.batch_size=choice(50,100)"]
    for starts in (1, 2):
        outcome = installed(*given)
        assert "internal error" not in outcome.err
        assert len(list((tmp_path / "runs/study").glob("*/meta.json"))) == 3 * starts
    best = outcome.err.splitlines()[-1]
    assert best.startswith("largest layers.gmm1.test_log_likelihood of ")
    results = yaml.safe_load((tmp_path / "runs/study/optimization_results.yaml").read_text())
    assert f"trainer.learning_rate.start={results['best_params']['trainer.learning_rate.start']}" in best


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda path: path.write_text("no database" * 100), os.mkfifo, Path.mkdir])
def test_a_damaged_study_is_named(damage: Callable[[Path], Any], installed: Runner, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    (tmp_path / "study").mkdir()
    damage(tmp_path / "study" / "study.db")
    outcome = installed("train", "-m", "hydra/sweeper=optuna", "hydra.sweep.dir=study", *QUICK, *OBJECTIVE)
    outcome.check_refused("study.db", "hydra.sweep.dir", "hydra.sweeper.storage")


def test_ctrl_c_stops_the_sweep(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SELF_SIGNAL, str(int(signal.SIGINT)), "4", "train", "-m", *QUICK, "seed=0,1,2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 130, done.stderr
    *_, told, head, job = done.stderr.splitlines()
    assert told == "dcgmm train: interrupted"
    assert head == "sweep of 3 jobs: 0 finished, 1 interrupted, 2 not begun"
    assert job.startswith("  #0 interrupted: ")
    (result,) = tmp_path.glob("runs/custom-mnist_sample/*/result.json")
    assert read_json(result)["status"] == "interrupted"
    assert done.stdout.splitlines()[-1] == str(result.parent)


def wait_for_jobs(lines: IO[str], count: int) -> None:
    """Read what a sweep prints until so many jobs have shown a first line of progress."""
    begun = set[str]()
    while len(begun) < count:
        line = lines.readline()
        assert line, "the sweep has ended"
        if " train: " in line:
            begun.add(line.split()[0])


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_jobs_in_other_processes(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    given = ["train", "-m", *QUICK, "trainer.epochs=20000", "seed=0,1,2,3", "hydra/launcher=joblib"]
    with subprocess.Popen(
        [Path(sys.executable).parent / "dcgmm", *given, "hydra.launcher.n_jobs=2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as sweep:
        assert sweep.stderr is not None
        wait_for_jobs(sweep.stderr, 2)
        if signum == signal.SIGINT:
            os.killpg(sweep.pid, signum)  # as a terminal does
        else:
            os.kill(sweep.pid, signum)
        lines = sweep.stderr.read().splitlines()  # to its end: no job is left that could write
    assert sweep.returncode == code
    head = lines[lines.index("dcgmm train: interrupted") + 1]
    assert head.startswith("sweep of 4 jobs: 0 finished, ")
    assert head.endswith(" 2 not begun")
    for directory in tmp_path.glob("runs/custom-mnist_sample/*"):
        assert read_state(directory / CHECKPOINT)["training"]["steps"] > 0


@pytest.mark.slow
def test_jobs_whose_sweep_is_killed_end_and_their_processes_too(installed: Runner, tmp_path: Path) -> None:
    given = ["train", "-m", *QUICK, "trainer.epochs=500", "seed=0,1,2,3", "hydra/launcher=joblib"]
    given += ["hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep"]
    with subprocess.Popen(
        [Path(sys.executable).parent / "dcgmm", *given], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as sweep:
        assert sweep.stderr is not None
        wait_for_jobs(sweep.stderr, 2)
        sweep.kill()
        sweep.stderr.read()  # to its end: no process is left that could write
    results = [read_json(path)["status"] for path in tmp_path.glob("sweep/*/result.json")]
    assert results.count("finished") >= 2
    assert "sweep of 4 jobs: " in installed(*given).err


def test_what_cannot_be_set_up_is_not_passed_over(dcgmm: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcgmm_cli.sweep_start.new_record", lambda sweep_dir: 1 / 0)
    outcome = dcgmm("train", "-m", *QUICK)
    assert outcome.code == 1
    assert "SweepStart.on_multirun_start raised ZeroDivisionError" in outcome.err


def test_a_sweep_directory_that_cannot_be(dcgmm: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = dcgmm("train", "-m", *QUICK, "hydra.sweep.dir=file/sweep")
    outcome.check_refused("file/sweep", os.strerror(errno.ENOTDIR))


@pytest.mark.parametrize(
    ("launcher", "named"), [("joblib", ["pip install 'dcgmm[sweep]'"]), ("job", ["basic", "submitit_local"])]
)
def test_a_launcher_that_is_not_there(
    launcher: str, named: list[str], dcgmm: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    Plugins.instance()  # finds the launchers that are installed
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "joblib.yaml")
    outcome = dcgmm("train", "-m", *QUICK, f"hydra/launcher={launcher}")
    outcome.check_refused(f"hydra/launcher={launcher}", *named)
