"""Commands that are stopped at any moment: nothing is lost or half written, and what goes on ends in the same bits."""

import contextlib
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcgmm.files import CHECKPOINT, TEMPORARY, read_json
from dcgmm_cli.runs import META, RESULT
from tests.stress.conftest import TRAINING, moments
from tests.stress.stopping import BOTH, Stopping, check_left, only
from tests.stress.whole import check_all_whole, check_same
from tests.stress.zygote import Ended, Started, Zygote

DRAWN = ["sampling.count=4", "quality.count=20", "quality.bins=4", "quality.frechet=false"]
SUBMITIT = ["hydra/launcher=submitit_local"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
FOLLOW_UPS = {
    "sample": DRAWN,
    "sharpen": [*DRAWN, "quality.count=0"],
    "outliers": ["outliers.dataset=fashion_mnist_sample", "outliers.maps=false"],
    "inpaint": ["images=10", "judge=false", "peers=false"],
    "visualize": ["images=100"],
    "cluster": ["cluster.count=100"],
    "classify": ["images=50", "methods=[generative]", "missing=[0.5]"],
    "export": ["format=npz"],
}
IN_PLACE = {
    "show": (["show", "run={run}", "format=html", "output=page.html"], "page.html"),
    "compare": (["compare", "run={run}", "run={other}", "format=html", "output=page.html"], "page.html"),
    "results": (["results", "{runs}", "format=csv", "output=runs.csv"], "runs.csv"),
}


@BOTH
@pytest.mark.parametrize(
    ("more", "count"),
    [
        ([], 44),
        (["trainer.replicas=2"], 15),
        (["arch.layers=[{type:folding,kernel:[14,14],stride:[14,14]},{type:gmm,components:4,factors:2}]"], 6),
    ],
    ids=["one", "replicas", "factors"],
)
def test_a_training(how: str, more: list[str], count: int, stopping: Stopping, tmp_path: Path) -> None:
    arguments = ["train", *TRAINING, *more]
    whole = stopping.whole(arguments, tmp_path / "whole").directory
    for number in moments(how, count):
        with stopping.counted():
            home = tmp_path / str(number)
            stopping.stopped(arguments, home)
            found = _runs(home)
            assert len(found) <= 1
            check_left(home / "runs", found)
            for directory in found:
                has_checkpoint = (directory / CHECKPOINT).exists()
                code = 0 if has_checkpoint and not _is_finished(directory) else 2
                only(stopping.zygote, ["train", f"run={directory}"], home, code)
                if has_checkpoint:
                    check_same(directory, whole)
                    assert not list(directory.rglob(f".*{TEMPORARY}"))
                    assert (home / "runs" / "latest").resolve() == directory
        shutil.rmtree(home)


@BOTH
@pytest.mark.parametrize(
    ("launcher", "count"), [([], 16), (JOBLIB, 16), (SUBMITIT, 4)], ids=["basic", "joblib", "submitit"]
)
def test_a_sweep(how: str, launcher: list[str], count: int, stopping: Stopping, tmp_path: Path) -> None:
    arguments = ["train", "-m", *TRAINING, "seed=0,1,2", "hydra.sweep.dir=sweep", *launcher]
    stopping.whole(arguments, tmp_path / "whole")
    for number in moments(how, count):
        with stopping.counted():
            home = tmp_path / str(number)
            stopping.stopped(arguments, home)
            check_left(home / "sweep", (home / "sweep").glob("*seed*"))
            if launcher is SUBMITIT:
                _wait_for_jobs(home / "sweep")
            only(stopping.zygote, arguments, home, 0)
            for directory in (tmp_path / "whole" / "sweep").glob("*seed*"):
                check_same(home / "sweep" / directory.name, directory)
        shutil.rmtree(home)


def _wait_for_jobs(sweep: Path) -> None:
    """Wait for jobs that outlive their sweep, also for those whose processes have not come to them yet."""
    end = time.monotonic() + 120
    while any(str(sweep).encode() in command for command in _commands()):
        assert time.monotonic() < end, f"jobs of {sweep} are still at work"
        time.sleep(0.1)


def _commands() -> Iterator[bytes]:
    """The command lines of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


@BOTH
def test_two_processes(how: str, stopping: Stopping, tmp_path: Path) -> None:
    """One of two that train together is stopped, and the other one then, as torchrun does."""
    arguments = ["train", *TRAINING]
    began = time.monotonic()
    whole = _both(stopping.zygote, arguments, tmp_path / "whole")
    assert [each.wait().code for each in whole] == [0, 0]
    stopping.took = time.monotonic() - began
    (directory,) = _runs(tmp_path / "whole")
    for number in moments(how, 16):
        with stopping.counted():
            home = tmp_path / str(number)
            ended = _stopped_together(stopping, _both(stopping.zygote, arguments, home))
            assert not any("Traceback" in each.err or "internal error" in each.err for each in ended), ended
            assert how == "killed" or {each.code for each in ended} <= {0, 1, 130, 143}, ended
            check_left(home / "runs", _runs(home))
            before = _runs(home)
            goes_on = any((path / META).exists() and not _is_finished(path) for path in before)
            again = [each.wait() for each in _both(stopping.zygote, arguments, home)]
            assert [each.code for each in again] == [0, 0], again
            assert len(_runs(home)) == len(before) + (not goes_on)
            for path in filter(_is_finished, _runs(home)):
                check_same(path, directory)
        shutil.rmtree(home)


def _both(zygote: Zygote, arguments: list[str], home: Path) -> list[Started]:
    home.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [zygote.start(arguments, home, RANK=str(rank), **place) for rank in range(2)]


def _stopped_together(stopping: Stopping, both: list[Started]) -> list[Ended]:
    (first, *_), which = stopping.random.choice(stopping.signals), stopping.random.randrange(2)
    time.sleep(stopping.random.uniform(0, 1.1 * stopping.took))
    both[which].send(first)
    time.sleep(stopping.random.uniform(0, 1))
    both[1 - which].send(signal.SIGTERM)
    return [each.wait() for each in both]


def _is_finished(directory: Path) -> bool:
    return (directory / RESULT).exists() and read_json(directory / RESULT)["status"] == "finished"


def _runs(home: Path) -> list[Path]:
    return [path for path in home.glob("runs/*/*") if path.parent.name != "latest"]


@pytest.fixture(scope="session")
def trained(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of two trained runs."""
    home = tmp_path_factory.mktemp("trained")
    only(zygote, ["train", "-m", *TRAINING, "seed=0,1", f"hydra.sweep.dir={home}/sweep"], home, 0)
    return home / "sweep"


@BOTH
@pytest.mark.parametrize("command", FOLLOW_UPS)
def test_a_follow_up(how: str, command: str, stopping: Stopping, trained: Path, tmp_path: Path) -> None:
    run = next(trained.glob("*seed-0*"))
    arguments = [command, f"run={run}", *FOLLOW_UPS[command]]
    whole = stopping.whole(arguments, tmp_path).directory
    for _ in moments(how, 10):
        with stopping.counted():
            stopping.stopped(arguments, tmp_path)
            left = [path for path in (run / command).iterdir() if path != whole]
            check_left(run, left)
            again = only(stopping.zygote, arguments, tmp_path, 0).directory
            check_same(again, whole)
            for directory in (*left, again):
                shutil.rmtree(directory)


@BOTH
def test_a_sweep_of_follow_ups(how: str, stopping: Stopping, trained: Path, tmp_path: Path) -> None:
    swept = ["sample", "-m", f"run={trained}", "sampling.top_s=1,2", *DRAWN, *JOBLIB]
    stopping.whole([*swept, f"hydra.sweep.dir={tmp_path}/whole"], tmp_path)
    for number in moments(how, 8):
        with stopping.counted():
            arguments = [*swept, f"hydra.sweep.dir={tmp_path}/{number}"]
            stopping.stopped(arguments, tmp_path)
            check_left(tmp_path / str(number), [])
            only(stopping.zygote, arguments, tmp_path, 0)
            for directory in (tmp_path / "whole").glob("*top_s*"):
                check_same(tmp_path / str(number) / directory.name, directory)


@BOTH
@pytest.mark.parametrize("command", IN_PLACE)
def test_a_command_that_writes_a_file(
    how: str, command: str, stopping: Stopping, trained: Path, tmp_path: Path
) -> None:
    words, name = IN_PLACE[command]
    run, other = sorted(trained.glob("*seed-*"))
    arguments = [word.format(run=run, other=other, runs=trained) for word in words]
    stopping.whole(arguments, tmp_path)
    before = (tmp_path / name).read_bytes()
    for number in moments(how, 5):
        with stopping.counted():
            if number % 2:
                (tmp_path / name).unlink()
            stopping.stopped(arguments, tmp_path)
            check_all_whole(tmp_path)
            only(stopping.zygote, arguments, tmp_path, 0)
            assert (tmp_path / name).read_bytes() == before
