import errno
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest

from dcgmm import __version__
from dcgmm.errors import InputError
from dcgmm.files import TEMPORARY, read_json
from dcgmm_cli.interruption import Interrupted, Interruption
from dcgmm_cli.job import COMMAND_LINE, Job, remember_command_line
from dcgmm_cli.records import MEASURED, append_metrics, is_at_work, keep_metrics, read_metrics, recorded, write_meta
from dcgmm_cli.runs import METRICS
from dcgmm_cli.schema import ClusterConfig
from tests.refusals import refused


def job_in(directory: Path, command: str = "train") -> Job:
    return Job(command, directory, [], Interruption())


def measured(step: int) -> dict[str, Any]:
    return {"step": step, "epoch": step / 100, "layers": {"gmm1": dict.fromkeys(MEASURED, 0.5 * step)}}


LINES = [measured(step) for step in (50, 100, 150)]


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
    append_metrics(tmp_path, LINES[2:])
    assert read_metrics(tmp_path) == LINES


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "[]", "3", "null", "{}", '{"step": 100}', '{"step": "x", "epoch": 1, "layers": {}}'),
        *('{"step": 100, "epoch": 1, "layers": [1]}', '{"step": 100, "epoch": 1, "layers": {"gmm1": {"sigma": 1}}}'),
        *("[" * 100_000, '{"a":' * 200 + "1" + "}" * 200, "\0", '"\\ud800"', "9" * 5000),
    ],
)
def test_a_line_that_is_no_measurement_is_named_and_left_out(
    line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_metrics(tmp_path, LINES)
    path = tmp_path / METRICS
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first, line, *rest]) + "\n")
    assert read_metrics(tmp_path) == LINES
    assert [record.message for record in caplog.records] == [f"{path} is damaged: left out line 2"]


def test_measurements_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=f"^{path} is damaged: "):
        read_metrics(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with refused(path, "regular"):
        read_metrics(tmp_path)


def test_a_job_sweeps_what_a_killed_one_left_in_its_directory(tmp_path: Path) -> None:
    for name in ("checkpoints", "figures", "sample/other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / f".last.pt.0{TEMPORARY}").touch()
    with recorded(job_in(tmp_path)):
        pass
    # Another command may be at work in the last one.
    assert [path.parent.name for path in tmp_path.rglob(f".*{TEMPORARY}")] == ["other"]


def test_measurements_must_be_numbers_of_json(tmp_path: Path) -> None:
    append_metrics(tmp_path, LINES)
    with pytest.raises(ValueError, match="JSON"):
        append_metrics(tmp_path, [{"step": 200}, {"step": 250, "sigma": math.nan}])
    assert read_metrics(tmp_path) == LINES


def test_meta_says_what_ran_and_keeps_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND_LINE, "")
    for device in ("cpu, 1 threads", "cuda:0: X"):
        remember_command_line(["dcgmm", "train", f"device={device}"])
        write_meta(tmp_path, "train", {"seed": 7, "arch": {"name": "1L"}}, device)
    meta = read_json(tmp_path / "meta.json")
    assert (meta["command"], meta["seed"], meta["dcgmm"]) == ("train", 7, __version__)
    assert meta["config"] == {"seed": 7, "arch": {"name": "1L"}}
    assert [start["device"] for start in meta["starts"]] == ["cpu, 1 threads", "cuda:0: X"]
    assert [start["argv"] for start in meta["starts"]] == [
        ["dcgmm", "train", "device=cpu, 1 threads"],
        ["dcgmm", "train", "device=cuda:0: X"],
    ]
    assert meta["packages"]["torch"].startswith(("2.", "3."))
    assert meta["git"] is None or re.fullmatch("[0-9a-f]{40}", meta["git"]["sha"])


def test_meta_of_options_and_of_what_was_started_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMAND_LINE, raising=False)
    monkeypatch.setattr("sys.argv", ["script.py", "x"])
    write_meta(tmp_path, "cluster", ClusterConfig(seed=3), "cpu")
    meta = read_json(tmp_path / "meta.json")
    assert (meta["seed"], meta["starts"][0]["argv"]) == (3, ["script.py", "x"])
    assert meta["config"]["cluster"]["split"] == "test"


def result_of(directory: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    assert result.pop("seconds") >= 0
    return result


def test_a_result_that_was_reached(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    with recorded(job):
        job.result["layers"] = {"gmm1": {"sigma": 0.01}}
        assert not (tmp_path / "result.json").exists()
    assert result_of(tmp_path) == {
        "command": "train",
        "status": "finished",
        "layers": {"gmm1": {"sigma": 0.01}},
    }


@pytest.mark.parametrize(
    ("raised", "ending"),
    [
        (InputError("batch_size=0"), {"status": "failed", "error": "batch_size=0"}),
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
        with recorded(job := job_in(tmp_path, "sample")):
            job.result["half"] = 1
            raise raised

    with pytest.raises(type(raised)) as caught:
        body()
    assert caught.value is raised
    assert result_of(tmp_path) == {"command": "sample", "half": 1, **ending}


@pytest.mark.parametrize("raised", [InputError("trained already"), KeyError("x"), KeyboardInterrupt()])
def test_what_ends_before_it_has_begun_does_not_replace_a_result(raised: BaseException, tmp_path: Path) -> None:
    with recorded(job_in(tmp_path)):
        pass
    with pytest.raises(type(raised)), recorded(job_in(tmp_path)):
        raise raised
    assert result_of(tmp_path)["status"] == "finished"
    (tmp_path / "result.json").unlink()  # as a training does when it begins
    with pytest.raises(type(raised)), recorded(job_in(tmp_path)):
        raise raised
    assert result_of(tmp_path)["status"] in ("failed", "interrupted")


def test_a_result_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"), recorded(job := job_in(tmp_path)):
        job.result["dunn"] = float("nan")
    ended = result_of(tmp_path)
    assert ended.pop("error").startswith("ValueError: ")
    assert ended == {"command": "train", "status": "failed"}


def test_a_look_at_a_lock_does_not_keep_a_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [BlockingIOError(), None]

    def flock(file: Any, operation: int) -> None:
        if error := looks.pop(0):
            raise error

    monkeypatch.setattr("fcntl.flock", flock)
    with recorded(job_in(tmp_path)):
        pass
    assert looks == []
    assert result_of(tmp_path)["status"] == "finished"


def test_one_process_at_a_time_is_at_work_in_a_run_directory(tmp_path: Path) -> None:
    assert is_at_work(tmp_path) is None
    with recorded(job_in(tmp_path)):
        assert is_at_work(tmp_path)
        with pytest.raises(InputError) as error, recorded(job_in(tmp_path)):
            raise AssertionError("both would write")
        assert str(error.value) == f"another process is at work in {tmp_path}; wait for it, or stop it"
        assert not (tmp_path / "result.json").exists()
    assert is_at_work(tmp_path) is False
    assert result_of(tmp_path)["status"] == "finished"


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with recorded(job_in(tmp_path)):
        assert is_at_work(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
