import os
import re
import shutil
from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm.files import temporary_for, write_json
from dcgmm_cli.runs import find_models, find_run, point_latest, unique_name
from tests.refusals import refused


def message(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_names_say_when_and_never_repeat() -> None:
    names = {unique_name() for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{6}", name) for name in names)


def make_run(root: Path, group: str, name: str) -> Path:
    directory = root / group / name
    write_json(directory / "meta.json", {})
    return directory.resolve()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def test_a_run_is_found_by_path_name_and_ending(root: Path) -> None:
    run = make_run(root, "2L-c-mnist", "2026-01-02_03-04-05-abc123")
    make_run(root, "2L-c-mnist", "2026-01-02_03-04-05-def456")
    forms = [
        str(run),
        f"runs/2L-c-mnist/{run.name}",
        f"./runs/2L-c-mnist/{run.name}/",
        f"2L-c-mnist/{run.name}",
        run.name,
        "abc123",
    ]
    for form in forms:
        assert find_run(form) == run, form
    # A directory of runs elsewhere, and a relative path to a run that lies beside it.
    assert find_run("abc123", str(run.parents[1])) == run
    assert find_run(f"runs/2L-c-mnist/{run.name}", "elsewhere") == run


def test_a_run_that_is_not_there(root: Path) -> None:
    make_run(root, "1L-mnist", "x-abc123")
    (root / "1L-mnist" / "no-run").mkdir()
    for form in ("def456", "1L-mnist", "1L-mnist/no-run", "no-run", "*", "a**", "[abc]", "../x", "/x"):
        with pytest.raises(InputError) as error:
            find_run(form)
        assert message(error) == (
            f"run={form}: no run directory there, nor under runs/; give its path, its name, or latest"
        )


def test_an_empty_name_is_not_the_current_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(root, "1L-mnist", "x-abc123")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").touch()
    for here in (root, run):
        monkeypatch.chdir(here)
        with pytest.raises(InputError) as error:
            find_run("")
        assert message(error) == "run= is empty: give the run's path, its name, or latest"
        with refused("run=", "latest"):
            find_models("", "runs")


def test_an_ending_that_fits_several_runs_names_them(root: Path) -> None:
    make_run(root, "1L-mnist", "x-abc123")
    make_run(root, "2L-a-mnist", "y-abc123")
    with pytest.raises(InputError) as error:
        find_run("abc123")
    assert message(error) == "run=abc123 fits 2 runs (1L-mnist/x-abc123, 2L-a-mnist/y-abc123); give one of them"


def test_latest_is_a_relative_link_that_is_replaced(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run=latest: no training run in runs/ yet; start one with `dcgmm train`"):
        find_run("latest")
    first, second = make_run(root, "1L-mnist", "a"), make_run(root, "1L-mnist", "b")
    for run in (first, second):
        point_latest(run, "runs")
        assert find_run("latest") == run
        assert os.readlink(root / "latest") == f"1L-mnist/{run.name}"
    assert sorted(os.listdir(root)) == ["1L-mnist", "latest"]
    # The tree can be moved.
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert find_run("latest", "moved") == tmp_path / "moved" / "1L-mnist" / "b"


def test_latest_through_a_link_to_the_runs(root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "disk", "1L-mnist", "a")
    root.symlink_to(tmp_path / "disk")
    point_latest(root / "1L-mnist" / "a", "runs")
    assert os.readlink(root / "latest") == "1L-mnist/a"
    assert find_run("latest") == run


def test_something_else_called_latest_stays_and_nothing_is_left_beside_it(root: Path) -> None:
    run = make_run(root, "1L-mnist", "a")
    (root / "latest").mkdir()
    (root / "latest" / "mine").touch()
    point_latest(run, "runs")
    assert sorted(os.listdir(root)) == ["1L-mnist", "latest"]
    assert os.listdir(root / "latest") == ["mine"]


def test_a_link_that_a_killed_process_left_is_swept(root: Path) -> None:
    run = make_run(root, "1L-mnist", "a")
    left = temporary_for(root / "latest")
    left.symlink_to("1L-mnist/a")
    os.utime(left, (0, 0), follow_symlinks=False)
    point_latest(run, "runs")
    assert sorted(os.listdir(root)) == ["1L-mnist", "latest"]


def test_latest_is_the_newest_that_is_left(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = [make_run(root, group, name) for group, name in (("1L-mnist", "b"), ("2L-a-mnist", "a"), ("1L-mnist", "c"))]
    for time, run in enumerate(runs):
        os.utime(run / "meta.json", (time, time))
    point_latest(runs[2], "runs")
    for newest in (2, 1, 0):
        for _ in range(2):  # each loss is told once
            assert find_run("latest") == runs[newest]
        shutil.rmtree(runs[newest])
    lost = "runs/latest leads nowhere (1L-mnist/c was moved or removed): run=latest takes"
    left = ("runs/2L-a-mnist/a", "runs/1L-mnist/b")
    assert [record.getMessage() for record in caplog.records] == [f"{lost} {run}" for run in left]
    with refused("run=latest:", "runs/", "`dcgmm train`"):
        find_run("latest")


def test_of_a_follow_up_s_directory_the_training_run_is_named(root: Path) -> None:
    run = make_run(root, "1L-mnist", "a")
    follow_up = make_run(run, "sample", "x")
    for form in (str(follow_up), "1L-mnist/a/sample/x"):
        with pytest.raises(InputError) as error:
            find_run(form)
        assert message(error) == f"run={form} is what `dcgmm sample` made of a training run: give run={run}"
    assert find_run(str(make_run(run, "replicas", "seed-0"))) == run / "replicas" / "seed-0"


def trained(root: Path, group: str, name: str) -> Path:
    run = make_run(root, group, name)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").touch()
    return run


def test_the_models_of_a_sweep_and_those_of_many(root: Path) -> None:
    sweep = [trained(root, "study", name) for name in ("a", "b")]
    replicas = [trained(root, "study/c/replicas", f"seed-{seed}") for seed in (0, 1)]
    write_json(root / "study" / "c" / "meta.json", {})
    assert find_models("runs/study", "runs", several=False) == sorted([*sweep, *replicas])
    other = trained(root, "1L-mnist", "d")
    trained(other, "sample/x/y", "z")  # deeper than runs lie
    assert find_models("runs", "runs") == sorted([other, *sweep, *replicas])
    with pytest.raises(InputError) as error:
        find_models("runs", "runs", several=False)
    assert message(error).startswith("run=runs holds 5 models in several directories: -m works on all of them")
