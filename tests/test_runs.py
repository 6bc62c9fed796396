import errno
import json
import math
import os
import re
from pathlib import Path
from typing import IO, Any

import pytest

from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interrupted
from dcgmm_cli.runs import (
    append_metrics,
    find_models,
    find_run,
    is_at_work,
    keep_metrics,
    point_latest,
    read_json,
    read_metrics,
    recorded,
    unique_name,
    write_json,
    write_meta,
    write_whole,
)


def message(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_names_say_when_and_never_repeat() -> None:
    names = {unique_name() for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{6}", name) for name in names)


def torn(file: IO[bytes]) -> None:
    file.write(b"half a f")
    raise RuntimeError("power cut")


def interrupted(file: IO[bytes]) -> None:
    file.write(b"half a f")
    raise KeyboardInterrupt


def test_a_file_appears_whole_in_a_directory_that_is_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, lambda file: file.write(b"new"))
    write_whole(path, lambda file: file.write(b"newer"))
    assert path.read_bytes() == b"newer"
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it, as any file that is simply opened


@pytest.mark.parametrize("write", [torn, interrupted])
def test_an_unfinished_write_leaves_the_old_file_and_no_litter(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        write_whole(path, write)
    assert os.listdir(tmp_path) == []
    path.write_bytes(b"old")
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        write_whole(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = []

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        file.flush()
        seen.append(path.exists())

    write_whole(path, write)
    assert seen == [False]


def test_an_unwritable_directory_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError) as error:
        write_whole(tmp_path / "taken" / "file", lambda file: file.write(b"x"))
    assert message(error).startswith(f"cannot write {tmp_path / 'taken' / 'file'}: ")


def test_json_there_and_back(tmp_path: Path) -> None:
    content = {"a": 1, "b": [1.5, None, "ü"], "c": {"d": True}}
    write_json(tmp_path / "file", content)
    assert read_json(tmp_path / "file") == content
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "file", {"a": bad})
    assert read_json(tmp_path / "file") == content


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1]", "3", "ÿ"])
def test_a_damaged_json_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as error:
        read_json(path)
    assert message(error).startswith(f"{path} is damaged: ")


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_json(tmp_path / "file")
    assert message(error) == f"cannot read {tmp_path / 'file'}: No such file or directory"


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
        with pytest.raises(UserError) as error:
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
        with pytest.raises(UserError) as error:
            find_run("")
        assert message(error) == "run= is empty: give the run's path, its name, or latest"
        with pytest.raises(UserError) as error:
            find_models("", "runs")
        assert message(error) == "run= is empty: give the run's path, its name, or latest"


def test_an_ending_that_fits_several_runs_names_them(root: Path) -> None:
    make_run(root, "1L-mnist", "x-abc123")
    make_run(root, "2L-a-mnist", "y-abc123")
    with pytest.raises(UserError) as error:
        find_run("abc123")
    assert message(error) == "run=abc123 fits 2 runs (1L-mnist/x-abc123, 2L-a-mnist/y-abc123); give one of them"


def test_latest_is_a_relative_link_that_is_replaced(root: Path, tmp_path: Path) -> None:
    first, second = make_run(root, "1L-mnist", "a"), make_run(root, "1L-mnist", "b")
    with pytest.raises(UserError, match="run=latest: no training run in runs/ yet; start one with `dcgmm train`"):
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


LINES: list[dict[str, Any]] = [{"step": 50, "layers": {"gmm1": {"sigma": 1.5}}}, {"step": 100}, {"step": 150}]


def test_metrics_are_appended_and_read(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    append_metrics(tmp_path, LINES[:1])
    append_metrics(tmp_path, [])
    append_metrics(tmp_path, LINES[1:])
    assert read_metrics(tmp_path) == LINES
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_torn_last_line_is_passed_over_at_every_cut(tmp_path: Path) -> None:
    append_metrics(tmp_path, LINES)
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole) - 1):
        (tmp_path / "metrics.jsonl").write_bytes(whole[:cut])
        assert read_metrics(tmp_path) == LINES[:2]


def test_measurements_behind_a_checkpoint_are_dropped_with_the_torn_line(tmp_path: Path) -> None:
    append_metrics(tmp_path, LINES)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2')
    keep_metrics(tmp_path, lambda line: line["step"] <= 100)
    assert read_metrics(tmp_path) == LINES[:2]
    append_metrics(tmp_path, [{"step": 150}])
    assert read_metrics(tmp_path) == LINES


def test_measurements_must_be_numbers_of_json(tmp_path: Path) -> None:
    append_metrics(tmp_path, LINES)
    with pytest.raises(ValueError, match="JSON"):
        append_metrics(tmp_path, [{"step": 200}, {"step": 250, "sigma": math.nan}])
    assert read_metrics(tmp_path) == LINES


def test_meta_says_what_ran_and_keeps_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cpu, 1 threads", "cuda:0: X"):
        monkeypatch.setattr("sys.argv", ["dcgmm train", f"device={device}"])
        write_meta(tmp_path, {"seed": 7, "arch": {"name": "1L"}}, device)
    meta = read_json(tmp_path / "meta.json")
    assert meta["seed"] == 7
    assert meta["config"] == {"seed": 7, "arch": {"name": "1L"}}
    assert [start["device"] for start in meta["starts"]] == ["cpu, 1 threads", "cuda:0: X"]
    assert [start["argv"] for start in meta["starts"]] == [
        ["dcgmm train", "device=cpu, 1 threads"],
        ["dcgmm train", "device=cuda:0: X"],
    ]
    assert meta["packages"]["torch"].startswith(("2.", "3."))
    assert meta["git"] is None or re.fullmatch("[0-9a-f]{40}", meta["git"]["sha"])


def result_of(directory: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    assert result.pop("seconds") >= 0
    return result


def test_a_result_that_was_reached(tmp_path: Path) -> None:
    with recorded(tmp_path, "train") as result:
        result["layers"] = {"gmm1": {"sigma": 0.01}}
        assert not (tmp_path / "result.json").exists()
    assert result_of(tmp_path) == {
        "command": "train",
        "status": "finished",
        "layers": {"gmm1": {"sigma": 0.01}},
    }


@pytest.mark.parametrize(
    ("raised", "ending"),
    [
        (UserError("batch_size=0"), {"status": "failed", "error": "batch_size=0"}),
        (KeyError("x"), {"status": "failed", "error": "KeyError: 'x'"}),
        (MemoryError(), {"status": "failed", "error": "MemoryError: "}),
        (SystemExit(3), {"status": "failed", "error": "SystemExit: 3"}),
        (KeyboardInterrupt(), {"status": "interrupted"}),
        (Interrupted(15), {"status": "interrupted"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_that_was_not_reached(raised: BaseException, ending: dict[str, str], tmp_path: Path) -> None:
    def body() -> None:
        with recorded(tmp_path, "sample") as result:
            result["half"] = 1
            raise raised

    with pytest.raises(type(raised)) as caught:
        body()
    assert caught.value is raised
    assert result_of(tmp_path) == {"command": "sample", "half": 1, **ending}


@pytest.mark.parametrize("raised", [UserError("trained already"), KeyError("x"), KeyboardInterrupt()])
def test_what_ends_before_it_has_begun_does_not_replace_a_result(raised: BaseException, tmp_path: Path) -> None:
    with recorded(tmp_path, "train"):
        pass
    with pytest.raises(type(raised)), recorded(tmp_path, "train"):
        raise raised
    assert result_of(tmp_path)["status"] == "finished"
    (tmp_path / "result.json").unlink()  # as a training does when it begins
    with pytest.raises(type(raised)), recorded(tmp_path, "train"):
        raise raised
    assert result_of(tmp_path)["status"] in ("failed", "interrupted")


def test_a_result_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"), recorded(tmp_path, "train") as result:
        result["dunn"] = float("nan")
    ended = result_of(tmp_path)
    assert ended.pop("error").startswith("ValueError: ")
    assert ended == {"command": "train", "status": "failed"}


def test_a_look_at_a_lock_does_not_keep_a_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [BlockingIOError(), None]

    def flock(file: Any, operation: int) -> None:
        if error := looks.pop(0):
            raise error

    monkeypatch.setattr("fcntl.flock", flock)
    with recorded(tmp_path, "train"):
        pass
    assert looks == []
    assert result_of(tmp_path)["status"] == "finished"


def test_one_process_at_a_time_is_at_work_in_a_run_directory(tmp_path: Path) -> None:
    assert is_at_work(tmp_path) is None
    with recorded(tmp_path, "train"):
        assert is_at_work(tmp_path)
        with pytest.raises(UserError) as error, recorded(tmp_path, "train"):
            raise AssertionError("both would write")
        assert message(error) == f"another process is at work in {tmp_path}; wait for it, or stop it"
        assert not (tmp_path / "result.json").exists()
    assert is_at_work(tmp_path) is False
    assert result_of(tmp_path)["status"] == "finished"


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with recorded(tmp_path, "train"):
        assert is_at_work(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
