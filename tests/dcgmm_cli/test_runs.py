import os
import re
from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm.files import write_json
from dcgmm_cli.runs import find_models, find_run, point_latest, unique_name


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
        with pytest.raises(InputError) as error:
            find_models("", "runs")
        assert message(error) == "run= is empty: give the run's path, its name, or latest"


def test_an_ending_that_fits_several_runs_names_them(root: Path) -> None:
    make_run(root, "1L-mnist", "x-abc123")
    make_run(root, "2L-a-mnist", "y-abc123")
    with pytest.raises(InputError) as error:
        find_run("abc123")
    assert message(error) == "run=abc123 fits 2 runs (1L-mnist/x-abc123, 2L-a-mnist/y-abc123); give one of them"


def test_latest_is_a_relative_link_that_is_replaced(root: Path, tmp_path: Path) -> None:
    first, second = make_run(root, "1L-mnist", "a"), make_run(root, "1L-mnist", "b")
    with pytest.raises(InputError, match="run=latest: no training run in runs/ yet; start one with `dcgmm train`"):
        find_run("latest")
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
