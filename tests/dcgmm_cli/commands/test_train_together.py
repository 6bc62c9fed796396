"""`dcgmm train` on several processes, as torchrun starts them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dcgmm.checkpoints import read_state
from dcgmm.files import CHECKPOINT, read_json
from dcgmm_cli.records import read_metrics
from tests.conftest import Tolerance
from tests.dcgmm_cli.commands.conftest import QUICK, Outcome, Runner
from tests.refusals import check_names
from tests.together import Ended, launch

ROUNDED = Tolerance(rtol=2e-5, atol=2e-5)
MANY = [*QUICK, "trainer.epochs=4"]  # 12 steps


def parameters(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = read_state(directory / CHECKPOINT)["model"]["parameters"]
    return found


def directory_of(first: Ended) -> Path:
    return Outcome(first.code, first.out, first.err).directory


def one_line(first: Ended) -> str:
    """The line that begins with error: there is one."""
    (line,) = [line for line in first.err.splitlines() if line.startswith("error: ")]
    return line


def test_two_processes_write_the_run_of_one(dcgmm: Runner, tmp_path: Path) -> None:
    alone = dcgmm("train", *QUICK).directory
    first, second = launch(2, ["train", *QUICK], tmp_path)
    assert (first.code, second.code) == (0, 0), first.err
    assert (second.out, second.err) == ("", "")
    directory = directory_of(first)
    assert directory.parent == alone.parent
    assert {path.name for path in directory.iterdir()} - {path.name for path in alone.iterdir()} == {"train-rank1.log"}
    assert "300 training and 300 test images" in (directory / "train-rank1.log").read_text()

    ours, theirs = read_json(alone / "result.json"), read_json(directory / "result.json")
    assert ours.keys() == theirs.keys()
    assert theirs["status"] == "finished"
    for name, layer in ours["layers"].items():
        assert theirs["layers"][name] == pytest.approx(layer, rel=1e-4)
    for name, value in parameters(alone).items():
        torch.testing.assert_close(parameters(directory)[name], value, **ROUNDED)
    assert [line["step"] for line in read_metrics(directory)] == [line["step"] for line in read_metrics(alone)]
    meta = read_json(directory / "meta.json")
    assert meta["starts"][0]["device"] == "cpu, 1 threads, 2 processes"


def test_what_cannot_be_is_one_line_of_the_first(tmp_path: Path) -> None:
    uneven, silent = launch(2, ["train", *QUICK, "trainer.batch_size=25"], tmp_path)
    assert (uneven.code, silent.code) == (2, 2)
    check_names(one_line(uneven), "trainer.batch_size", 2, 25)
    assert silent.err == ""

    other, silent = launch(2, ["train", *QUICK], tmp_path, also=("seed=1",))
    assert (other.code, silent.code) == (2, 2)
    check_names(one_line(other), "process 1", "process 0", "command line")
    assert silent.err == ""
    assert not list(tmp_path.glob("runs/*/*"))  # nothing was begun


@pytest.mark.slow
@pytest.mark.parametrize(("words", "what"), [(["sample"], "dcgmm sample"), (["train", "-m", "seed=1,2"], "a sweep")])
def test_other_commands_run_in_one_process(words: list[str], what: str, tmp_path: Path) -> None:
    first, second = launch(2, words, tmp_path)
    assert (first.code, second.code) == (2, 2)
    check_names(one_line(first), what, "torchrun", "`dcgmm train`")
    assert second.err == ""


@pytest.mark.slow
def test_processes_with_other_data_are_refused(tmp_path: Path) -> None:
    (here := tmp_path / "here").mkdir()
    (there := tmp_path / "there").mkdir()
    for folder, seed in ((here, 0), (there, 1)):
        images = torch.rand(60, 28, 28, generator=torch.Generator().manual_seed(seed))
        (folder / "data").mkdir()
        for split in ("train", "test"):
            (folder / "data" / split / "a").mkdir(parents=True)
        for number, image in enumerate(images):
            split = "train" if number < 50 else "test"
            Image.fromarray((255 * image).byte().numpy()).save(folder / "data" / split / "a" / f"{number}.png")
    words = [*QUICK[:1], "dataset=folder", "dataset.path=data", "trainer.epochs=2"]
    first, second = launch(2, ["train", *words], here, moved=there)
    assert (first.code, second.code) == (2, 2)
    check_names(one_line(first), "process 1", "process 0", "dataset.path", "training images")

    first, _ = launch(2, ["train", *words, "dataset.path=data"], here, moved=tmp_path)
    assert first.code == 1
    check_names(one_line(first), "process 1", "data")


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_and_all_go_on(tmp_path: Path) -> None:
    whole = directory_of(launch(2, ["train", *MANY, "runs_dir=whole"], tmp_path)[0])
    first, killed = launch(2, ["train", *MANY], tmp_path, signum=signal.SIGKILL, at=5)
    assert (first.code, killed.code) == (1, -9)
    check_names(one_line(first), "process 1", "pid")
    directory = directory_of(first)
    assert f"go on with: dcgmm train run={directory}" in first.err
    result = read_json(directory / "result.json")
    assert result["status"] == "failed"
    check_names(result["error"], "process 1", "pid")
    assert read_state(directory / CHECKPOINT)["training"]["steps"] == 3

    # Started again by the same one, they go on with what they had begun, to the same bits.
    again, _ = launch(2, ["train", *MANY], tmp_path)
    assert again.code == 0, again.err
    assert directory_of(again) == directory
    assert "going on at step 3 of 12" in again.err
    for name, value in parameters(whole).items():
        assert torch.equal(parameters(directory)[name], value), name
    assert read_metrics(directory) == read_metrics(whole)
    # That one has finished: the next begins anew.
    assert directory_of(launch(2, ["train", *MANY], tmp_path)[0]) != directory


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_one_stops_all_and_another_number_goes_on(
    dcgmm: Runner, tmp_path: Path, signum: int, code: int
) -> None:
    alone = dcgmm("train", *MANY).directory
    first, told = launch(2, ["train", *MANY, "runs_dir=more"], tmp_path, signum=signum, at=5)
    assert (first.code, told.code) == (143, code)
    directory = directory_of(first)
    assert read_json(directory / "result.json")["status"] == "interrupted"
    assert read_state(directory / CHECKPOINT)["training"]["steps"] == 6  # the next after all could know of it

    resumed = launch(4, ["train", f"run={directory}", "trainer.threads=1"], tmp_path)
    assert [each.code for each in resumed] == [0] * 4, resumed[0].err
    for name, value in parameters(alone).items():
        torch.testing.assert_close(parameters(directory)[name], value, **ROUNDED)
    assert [line["step"] for line in read_metrics(directory)] == [line["step"] for line in read_metrics(alone)]


@pytest.mark.slow
def test_torchrun_starts_them(tmp_path: Path) -> None:
    entry = Path(sys.executable).parent / "torchrun"
    words = ["--standalone", "--nproc-per-node=2", "-m", "dcgmm_cli", "train", *QUICK]
    done = subprocess.run([str(entry), *words], cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    directory = tmp_path / done.stdout.splitlines()[-1]
    assert read_json(directory / "result.json")["status"] == "finished"
