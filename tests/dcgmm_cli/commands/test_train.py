import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dcgmm.checkpoints import load_run, read_state
from dcgmm.datasets import load
from dcgmm.density import density
from dcgmm.files import CHECKPOINT, read_json
from dcgmm_cli.records import read_metrics
from tests.dcgmm.datasets.conftest import tiny_set
from tests.dcgmm_cli.commands.conftest import QUICK, TINY, Runner
from tests.refusals import check_names


def parameters(directory: Path) -> dict[str, torch.Tensor]:
    return load_run(directory).model.state_dict()


def steps_done(directory: Path) -> int:
    return int(read_state(directory / CHECKPOINT)["training"]["steps"])


def same(first: Path, second: Path) -> bool:
    a, b = parameters(first), parameters(second)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_leaves_what_is_documented(installed: Runner, tmp_path: Path) -> None:
    outcome = installed("train", *QUICK, "seed=3")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    assert directory.parent == tmp_path / "runs" / "custom-mnist_sample"
    assert (tmp_path / "runs" / "latest").resolve() == directory

    result = read_json(directory / "result.json")
    assert (result["command"], result["status"]) == ("train", "finished")
    assert result["seconds"] >= result["train_seconds"] > 0
    assert result["steps"] == 6
    assert "reason" in result["density"]  # pooled
    assert set(result["layers"]) == {"gmm1", "gmm2"}
    for layer in result["layers"].values():
        assert {"train_log_likelihood", "test_log_likelihood", "sigma", "weights_in_use"} <= set(layer)

    lines = read_metrics(directory)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[-1]["epoch"] == 2

    meta = read_json(directory / "meta.json")
    assert meta["seed"] == 3
    assert meta["starts"][0]["device"].startswith("cpu")
    for figure in ("training.png", "centroids_gmm1.png"):
        with Image.open(directory / "figures" / figure) as image:
            assert min(image.size) > 10
    assert (directory / ".hydra" / "config.yaml").exists()
    assert [layer["name"] for layer in meta["layers"]] == ["folding1", "gmm1", "pooling1", "folding2", "gmm2"]
    assert sum(layer["parameters"] for layer in meta["layers"]) == sum(map(torch.numel, parameters(directory).values()))
    assert meta["data"]["classes"][3] == {"label": 3, "name": "3", "train": 30, "test": 30}
    # Figures are in the log too; the terminal has its table.
    log = (directory / "train.log").read_text()
    assert f"layers.gmm1.test_log_likelihood {result['layers']['gmm1']['test_log_likelihood']:.4g}" in log
    assert "finished:" not in outcome.err
    # Nor is a temporary file left.
    assert [path.name for path in directory.rglob(".*") if path.is_file()] == [".lock"]

    # The scores in result.json are those of the checkpoint's model.
    run = load_run(directory)
    assert run.model.gmms["gmm2"].components == 4
    mean = run.detector().positions["gmm1"].mean.mean()
    assert result["layers"]["gmm1"]["train_log_likelihood"] == pytest.approx(float(mean))
    assert "gmm2" in outcome.out
    assert "epoch 2.0 of 2" in outcome.err


def test_same_seed_same_parameters(dcgmm: Runner) -> None:
    first, second, other = (dcgmm("train", *QUICK, f"seed={seed}").directory for seed in (1, 1, 2))
    assert first != second
    assert same(first, second)
    assert not same(first, other)


# Runs a command line that sends itself a signal when the trainer has done a given number of steps.
SELF_SIGNAL = """
import os, sys, threading
from dcgmm.training import trainer
from dcgmm_cli import main
number, at = int(sys.argv.pop(1)), int(sys.argv.pop(1))
step = trainer.Trainer.step
def signalling_step(self):
    report = step(self)
    if self.steps == at:
        for thread in threading.enumerate():
            if thread.name == "checkpoint":  # what was begun before is written
                thread.join()
        os.kill(os.getpid(), number)
    return report
trainer.Trainer.step = signalling_step
main.main()
"""


def interrupted_run(tmp_path: Path, number: int, at: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SELF_SIGNAL, str(number), str(at), *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("number", "at", "code"), [(signal.SIGKILL, 5, -9), (signal.SIGTERM, 4, 143), (signal.SIGINT, 5, 130)]
)
def test_a_stopped_run_goes_on_to_the_same_parameters(
    dcgmm: Runner, tmp_path: Path, number: int, at: int, code: int
) -> None:
    arguments = [*QUICK, "trainer.epochs=3", "trainer.threads=1"]
    whole = dcgmm("train", *arguments).directory
    stopped = interrupted_run(tmp_path, number, at, "train", *arguments)
    assert stopped.returncode == code
    directory = (tmp_path / "runs" / "latest").resolve()
    assert directory != whole
    steps = steps_done(directory)
    if number == signal.SIGKILL:
        assert steps == 3  # the epoch that had ended
        assert not (directory / "result.json").exists()
    else:
        assert steps == at
        assert read_json(directory / "result.json")["status"] == "interrupted"
        assert stopped.stdout.splitlines()[-1] == str(directory)
        *_, advice, told = stopped.stderr.splitlines()
        assert advice == f"go on with: dcgmm train run={directory}"
        assert told == "dcgmm train: interrupted"

    resumed = dcgmm("train", f"run={directory}")
    assert resumed.code == 0, resumed.err
    assert resumed.directory == directory
    assert same(directory, whole)
    assert read_metrics(directory) == read_metrics(whole)
    assert read_json(directory / "result.json")["status"] == "finished"
    assert len(read_json(directory / "meta.json")["starts"]) == 2
    saved = (directory / ".hydra" / "overrides.yaml").read_text()
    assert "run=" not in saved


def test_a_finished_run_can_be_trained_further_only_when_asked(dcgmm: Runner) -> None:
    directory = dcgmm("train", *QUICK).directory
    longer = dcgmm("train", *QUICK, "trainer.epochs=3").directory
    before = (directory / "result.json").read_text()

    again = dcgmm("train", f"run={directory.name}")
    again.check_refused(directory, 2, "trainer.epochs=N", alone=False)
    assert (directory / "result.json").read_text() == before

    shorter = dcgmm("train", f"run={directory}", "trainer.epochs=1")
    shorter.check_refused(directory, 2, "trainer.epochs=N", alone=False)
    assert (directory / "result.json").read_text() == before

    other = dcgmm("train", f"run={directory}", "seed=5")
    other.check_refused("seed", "trainer.epochs")

    assert dcgmm("train", f"run={directory}", "trainer.epochs=3").code == 0
    assert same(directory, longer)


def test_ctrl_c_that_stops_the_reader_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SELF_SIGNAL, str(int(signal.SIGINT)), "4", "train", *QUICK]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as stopped:  # as in `dcgmm train | tee`
        assert stopped.stdout is not None
        assert stopped.stderr is not None
        stopped.stdout.close()
        err = stopped.stderr.read()
    assert stopped.returncode == 130, err
    assert err.endswith("dcgmm train: interrupted\n")


def test_an_interrupted_run_does_not_go_back(tmp_path: Path, dcgmm: Runner) -> None:
    assert interrupted_run(tmp_path, signal.SIGINT, 4, "train", *QUICK).returncode == 130
    outcome = dcgmm("train", "run=latest", "trainer.epochs=1")
    directory = (tmp_path / "runs" / "latest").resolve()
    outcome.check_refused(directory, 1.33, 4, 3, alone=False)
    assert read_json(directory / "result.json")["status"] == "interrupted"
    assert steps_done(directory) == 4
    # What works on it says so, and how it goes on.
    shown = dcgmm("visualize", "images=0")
    assert shown.code == 0, shown.err
    first, second = shown.err.splitlines()[:2]
    assert first == f"run=latest is {directory}"
    assert second == f"warning: {directory} was interrupted at step 4 of 6; go on with: dcgmm train run={directory}"


def test_data_may_be_elsewhere_when_a_run_goes_on(
    dcgmm: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_set("mnist", monkeypatch)
    tiny.write(tmp_path / "first")
    layers = "arch.layers=[{type:folding,kernel:[5,4]},{type:gmm,components:4}]"
    options = [layers, "dataset=mnist", "trainer.batch_size=10", "trainer.epochs=1"]
    run = dcgmm("train", *options, "dataset.root=first").directory
    (tmp_path / "first").rename(tmp_path / "second")
    resumed = dcgmm("train", f"run={run}", "trainer.epochs=2", "dataset.root=second")
    assert resumed.code == 0, resumed.err
    assert read_json(run / "meta.json")["config"]["dataset"]["root"] == "second"

    (tmp_path / "second").rename(tmp_path / "third")
    monkeypatch.setenv("DCGMM_DATA", str(tmp_path / "third"))
    resumed = dcgmm("train", f"run={run}", "trainer.epochs=3")
    assert resumed.code == 0, resumed.err
    assert load_run(run).config["dataset"]["root"] == str(tmp_path / "third")

    # The other commands look there as well: first where the data were, then where they are kept by default.
    (tmp_path / "third").rename(tmp_path / "fourth")
    monkeypatch.setenv("DCGMM_DATA", str(tmp_path / "fourth"))
    followed = dcgmm("visualize", f"run={run}")
    assert followed.code == 0, followed.err
    assert not (tmp_path / "third").exists()
    (tmp_path / "fourth").rename(tmp_path / "third")
    followed = dcgmm("visualize", f"run={run}")
    assert followed.code == 0, followed.err
    assert not (tmp_path / "fourth").exists()


def test_a_run_stopped_after_its_last_step_goes_on_to_its_result(dcgmm: Runner) -> None:
    directory = dcgmm("train", *QUICK).directory
    before = read_json(directory / "result.json")
    trained, measured = parameters(directory), read_metrics(directory)
    (directory / "result.json").unlink()  # as where it was killed while it scored the training images

    resumed = dcgmm("train", f"run={directory}")
    assert resumed.code == 0, resumed.err
    after = read_json(directory / "result.json")
    assert after["status"] == "finished"
    assert after["layers"] == before["layers"]
    assert parameters(directory).keys() == trained.keys()
    assert all(torch.equal(value, trained[name]) for name, value in parameters(directory).items())
    assert read_metrics(directory) == measured


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options take rates that no training survives."""
    monkeypatch.setattr("dcgmm.options.LARGEST", 10**39)


@pytest.mark.usefixtures("any_size")
def test_a_training_that_diverges_at_once_leaves_nothing(dcgmm: Runner, tmp_path: Path) -> None:
    good = dcgmm("train", *QUICK, "trainer.epochs=1").directory
    rates = ["trainer.learning_rate.start=1e38", "trainer.learning_rate.logits=1e3"]
    outcome = dcgmm("train", *QUICK, *rates, "trainer.centroid_epochs=0")
    outcome.check_refused("gmm1:", "step 2;", alone=False)
    assert [path.parent for path in tmp_path.glob("runs/*/*/meta.json")] == [good]  # none of it was good
    assert all(value.isfinite().all() for value in parameters(good).values())


@pytest.mark.usefixtures("any_size")
def test_what_was_measured_before_a_divergence_is_kept(dcgmm: Runner) -> None:
    # 3 steps an epoch, windows of 2: the first one is good, weights move, and far, from step 4 on.
    rates = ["trainer.learning_rate.start=1e10", "trainer.learning_rate.logits=1e38", "trainer.learning_rate.loc=0"]
    outcome = dcgmm("train", *QUICK, *rates, "trainer.centroid_epochs=1", "trainer.checkpoint_epochs=2")
    outcome.check_refused("gmm1:", "step 4;", alone=False)
    assert [line["step"] for line in read_metrics(outcome.directory)] == [2]


def test_a_density_of_the_pixels_is_reported(dcgmm: Runner) -> None:
    outcome = dcgmm("train", "arch=2L-b", *QUICK[1:])
    assert outcome.code == 0, outcome.err
    found = read_json(outcome.directory / "result.json")["density"]
    test = load("mnist_sample", limit=300).test.images
    assert found["nats"] == pytest.approx(float(density(load_run(outcome.directory).model, test).nats.mean()))
    assert found["bits_per_dimension"] == pytest.approx((math.log(255) - found["nats"] / 784) / math.log(2))
    assert f"{found['bits_per_dimension']:.3f} bits per dimension" in outcome.out


def test_own_architecture_from_a_directory(dcgmm: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine" / "arch").mkdir(parents=True)
    layers = "layers:\n  - {type: folding, kernel: [14, 14], stride: [14, 14]}\n  - {type: gmm, components: 4}\n"
    (tmp_path / "mine" / "arch" / "tiles.yaml").write_text(f"name: tiles\n{layers}")
    outcome = dcgmm("train", "--config-dir", "mine", "arch=tiles", *QUICK[1:])
    assert outcome.code == 0, outcome.err
    assert outcome.directory.parent.name == "tiles-mnist_sample"


def test_sweep_gives_each_job_its_directory_and_names_the_failed_one(dcgmm: Runner, tmp_path: Path) -> None:
    outcome = dcgmm("train", "-m", *QUICK, "trainer.epochs=1", "trainer.batch_size=50,1000")
    assert outcome.code == 2
    check_names(outcome.err.splitlines()[-1], "trainer.batch_size", 300, 1000)
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/custom-mnist_sample/*/result.json")]
    assert sorted(result["status"] for result in results) == ["failed", "finished"]


THREE_A_AS_PRINTED = (
    "arch.layers=[{type:folding,kernel:[3,3]},{type:gmm,components:25},{type:pooling,kernel:[2,2]},"
    "{type:folding,kernel:[4,4]},{type:gmm,components:25},{type:pooling,kernel:[2,2]},"
    "{type:folding,kernel:[6,6]},{type:gmm,components:49}]"
)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["arch=9L"], "arch=9L 1L 2L-a"),
        (["dataset=imagenet"], "dataset=imagenet mnist folder"),
        (["trainer.epoch=3"], "trainer.epoch trainer.epochs"),
        (["+trainer.epoch=3"], "trainer.epoch trainer.epochs"),
        (["trainer.epochs=many"], "trainer.epochs 1 many"),
        (["trainer.epochs=0"], "trainer.epochs 1 0"),
        (["trainer.batch_size=0"], "trainer.batch_size 1 0"),
        (["trainer.batch_size=301"], "trainer.batch_size 300 301"),
        (["trainer.annealing.gamma=1"], "trainer.annealing.gamma (0, 1) 1"),
        (["trainer.annealing.alpha=0"], "trainer.annealing.alpha (0, 1] 0"),
        (["trainer.dtype=float16"], "trainer.dtype=float16 float32 float64"),
        (["trainer.device=tpu"], "trainer.device auto cpu cuda cuda:N tpu"),
        (["trainer.threads=0"], "trainer.threads 1 1024 0"),
        (["gmm.precision_sqrt_start=big"], "gmm.precision_sqrt_start=big limit unit"),
        ([THREE_A_AS_PRINTED], "7 F(6,6,1,1) 5x5"),
        (["arch.layers=[{type:gmm,components:24}]"], "1 G(24) components 24 25"),
        (["arch.layers=[{type:dense,components:24}]"], "arch.layers type=dense folding pooling gmm"),
        (["arch.layers=[]"], "GMM none"),
        (["dataset.classes=[0,11]"], "dataset.classes 0 9 11"),
        (["run=nowhere"], "run=nowhere runs/ latest"),
    ],
)
def test_bad_input_gets_one_line_and_code_2(dcgmm: Runner, tmp_path: Path, arguments: list[str], named: str) -> None:
    outcome = dcgmm("train", *QUICK, *arguments)
    outcome.check_refused(*named.split(), alone=False)
    for result in tmp_path.rglob("result.json"):
        assert read_json(result)["status"] == "failed"
    assert not list(tmp_path.rglob("*.pt"))
    assert not (tmp_path / "runs" / "latest").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_where_there_is_none(dcgmm: Runner) -> None:
    dcgmm("train", *QUICK, "trainer.device=cuda").check_refused("trainer.device", "cpu", "auto", "cuda")


def test_unwritable_output(dcgmm: Runner, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    outcome = dcgmm("train", *QUICK)
    outcome.check_refused("runs", os.strerror(errno.ENOTDIR))


def test_no_space_for_the_records_of_a_start(
    dcgmm: Runner, tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves nothing, also no directory."""

    def refuse(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hydra.core.utils._save_config", refuse)
    for words, parent in (["train", *QUICK], tmp_path / "runs"), (["visualize", f"run={tiny_run}"], tiny_run):
        before = sorted(parent.rglob("*"))
        outcome = dcgmm(*words)
        outcome.check_refused(f"{parent}/", os.strerror(errno.ENOSPC))
        assert sorted(parent.rglob("*")) == before


def test_short_budget_is_announced_with_its_numbers(dcgmm: Runner) -> None:
    outcome = dcgmm("train", TINY, "dataset=mnist_sample", "trainer.epochs=1")
    # K=4: ceil(ln(0.25 sqrt(8) / 0.01) / ln(1 / 0.9)) = 41 shrinkings, and two windows of 33 that only record.
    outcome.check_told(1419, "1 epochs", 20)


def test_replicas_leave_a_run_directory_each(installed: Runner, dcgmm: Runner) -> None:
    outcome = installed("train", *QUICK, "seed=3", "trainer.replicas=2", "trainer.dtype=float64")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    result = read_json(directory / "result.json")
    assert result["status"] == "finished"
    assert result["replicas"] == ["replicas/seed-3", "replicas/seed-4"]
    assert "2 replicas" in outcome.out
    for seed in (3, 4):
        home = directory / "replicas" / f"seed-{seed}"
        alone = dcgmm("train", *QUICK, f"seed={seed}", "trainer.dtype=float64").directory
        theirs, own = parameters(home), parameters(alone)
        for name, value in own.items():
            torch.testing.assert_close(theirs[name], value)
        for file in ("result.json", "meta.json"):
            assert read_json(home / file).keys() == read_json(alone / file).keys()
        assert read_json(home / "meta.json")["seed"] == seed
        assert len(read_metrics(home)) == len(read_metrics(alone))
        assert (home / "figures" / "training.png").exists()
        # Every other command takes it as the run that it is.
        followed = dcgmm("sample", f"run={home}", "sampling.count=4", "quality.count=0")
        assert followed.code == 0, followed.err
        assert followed.directory.parent == home / "sample"
    assert not same(directory / "replicas" / "seed-3", directory / "replicas" / "seed-4")


def test_replicas_go_on_together(dcgmm: Runner) -> None:
    given = [*QUICK, "seed=3", "trainer.replicas=2"]
    whole = dcgmm("train", *given).directory
    begun = dcgmm("train", *given, "trainer.epochs=1").directory
    assert dcgmm("train", f"run={begun}", "trainer.epochs=2").code == 0
    for name in ("seed-3", "seed-4"):
        assert same(whole / "replicas" / name, begun / "replicas" / name)
        assert [line["step"] for line in read_metrics(begun / "replicas" / name)] == [2, 4, 6]


def test_replicas_must_be_some(dcgmm: Runner, tmp_path: Path) -> None:
    outcome = dcgmm("train", *QUICK, "trainer.replicas=0")
    outcome.check_refused("trainer.replicas", 1, 1000, 0)
    assert not list(tmp_path.glob("runs/*/*/checkpoints"))


def test_a_directory_given_twice_goes_on_with_the_same_run_alone(dcgmm: Runner, tmp_path: Path) -> None:
    own = f"hydra.run.dir={tmp_path / 'mine'}"
    directory = dcgmm("train", *QUICK, own).directory
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.suffix != ".log"}
    again = dcgmm("train", *QUICK, "seed=5", own)
    again.check_refused(directory, "seed=0", 5, "hydra.run.dir")
    other = dcgmm("cluster", f"run={directory}", own)
    other.check_refused(directory, "command=train", "cluster", "hydra.run.dir")
    (directory / "result.json").unlink()  # as if it had been killed
    assert dcgmm("train", *QUICK, "seed=5", own).code == 2
    assert not (directory / "result.json").exists()
    del before[directory / "result.json"]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert dcgmm("train", *QUICK, own).code == 0
    assert same(directory, dcgmm("train", *QUICK).directory)


def test_a_training_that_ends_below_its_start_says_so_at_its_end(dcgmm: Runner) -> None:
    well = read_json(dcgmm("train", *QUICK).directory / "result.json")
    assert well["problem"] is None
    assert all(layer["start_log_likelihood"] < layer["test_log_likelihood"] for layer in well["layers"].values())

    rates = ["start=1", "end=1", "logits=1000"]
    outcome = dcgmm(
        "train", *QUICK, "trainer.weights_by_use=false", *(f"trainer.learning_rate.{rate}" for rate in rates)
    )
    assert outcome.code == 0
    problem = read_json(outcome.directory / "result.json")["problem"]
    check_names(problem, "gmm2")
    assert outcome.err.splitlines()[-1].endswith(problem)


def test_a_precision_that_rounding_would_hide_is_refused(dcgmm: Runner) -> None:
    outcome = dcgmm("train", *QUICK, "gmm.precision_limit=20000")
    outcome.check_refused("gmm.precision_limit", 10000, "float32", "20000.0", alone=False)
