import json
import os
import pickle
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcgmm.errors import InputError
from dcgmm_cli.interruption import Interrupted, Interruption
from dcgmm_cli.job import Job
from dcgmm_cli.records import recorded
from dcgmm_cli.sweeps import RECORD, JobOutcome, Sweep, check_same, is_done, job_name, new_record, summary, tell
from tests.refusals import refused

OUTCOMES = [
    JobOutcome(0, ["seed=0"], "finished", "/runs/a"),
    JobOutcome(1, ["seed=1"], "skipped", "/runs/b"),
    JobOutcome(2, ["seed=2", "arch=1L"], "failed", "/runs/c", 2, "no data"),
    JobOutcome(3, ["seed=3"], "interrupted", "/runs/d", 130, "stopped by a signal"),
]


def test_outcomes_reach_the_process_that_collects_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(4, new_record(str(tmp_path / "sweep")), prints_elsewhere=False)
    monkeypatch.setenv(RECORD, str(sweep.record))
    for outcome in reversed(OUTCOMES):  # the last job ends first
        tell(replace(outcome, status="begun", code=0, error=None))
        tell(outcome)
    assert sweep.outcomes() == OUTCOMES
    assert not list((tmp_path / "sweep").iterdir())
    tell(OUTCOMES[0])  # nobody listens any more
    monkeypatch.delenv(RECORD)
    tell(OUTCOMES[0])  # no job of a sweep
    assert not list((tmp_path / "sweep").iterdir())


def test_what_a_killed_sweep_left_is_swept_long_after(tmp_path: Path) -> None:
    killed, at_work = (new_record(str(tmp_path)) for _ in range(2))
    os.utime(killed, (0, 0))
    new = new_record(str(tmp_path))
    assert {*new.parent.iterdir()} == {at_work, new}


def test_a_job_that_told_no_end_is_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(4, new_record(str(tmp_path)), prints_elsewhere=False)
    monkeypatch.setenv(RECORD, str(sweep.record))
    tell(JobOutcome(1, ["seed=1"], "begun", "/runs/b"))
    outcomes = sweep.outcomes()
    assert [(outcome.number, outcome.status, outcome.code) for outcome in outcomes] == [(1, "unfinished", 1)]
    assert summary(sweep.jobs, outcomes).splitlines() == [
        "sweep of 4 jobs: 0 finished, 1 unfinished, 3 not begun",
        "  #1 unfinished: seed=1: killed, or still at work",
    ]


def test_a_job_that_has_outlived_its_sweep_is_told_from_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(2, new_record(str(tmp_path)), prints_elsewhere=False)
    monkeypatch.setenv(RECORD, str(sweep.record))
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".lock").touch()
        tell(JobOutcome(number, [f"seed={number}"], "begun", str(tmp_path / name)))
    with recorded(Job("train", tmp_path / "b", [], Interruption())):
        outcomes = sweep.outcomes()
    assert [outcome.error for outcome in outcomes] == ["killed", "still at work"]


def test_lines_of_jobs_that_end_together_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(200, new_record(str(tmp_path)), prints_elsewhere=False)
    monkeypatch.setenv(RECORD, str(sweep.record))
    children = []
    for first in range(0, 200, 50):
        if (child := os.fork()) == 0:
            for number in range(first, first + 50):
                tell(JobOutcome(number, [f"seed={number}"] * 20, "finished", None))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    outcomes = sweep.outcomes()
    assert [outcome.number for outcome in outcomes] == list(range(200))
    assert all(set(outcome.overrides) == {f"seed={outcome.number}"} for outcome in outcomes)


def test_the_summary_counts_and_names() -> None:
    assert summary(4, OUTCOMES).splitlines() == [
        "sweep of 4 jobs: 1 finished, 1 skipped (done before), 1 failed, 1 interrupted",
        "  #2 failed: seed=2 arch=1L: no data",
        "  #3 interrupted: seed=3: stopped by a signal",
    ]
    twice = [JobOutcome(number, [f"seed={number}"], "failed", None, 2, "no data") for number in (0, 3)]
    assert summary(2, twice).splitlines()[1:] == ["  #0, #3 failed: no data"]
    assert summary(1, OUTCOMES[:1]) == "sweep of 1 job: 1 finished"
    assert summary(0, OUTCOMES[:1]) == "sweep of 1 job: 1 finished"  # how many there are was not known


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["seed=0", "arch=1L"], r"arch-1L\+seed-0"),
        (["gmm.loc_range=-0.5"], "gmm.loc_range--0.5"),
        ([], r"job-\w{6}"),
        (["dataset.classes=[0,1]"], r"dataset.classes-0_1-\w{6}"),
        (["run=/a/b/../c d/"], r"run-c_d-\w{6}"),
        (["run='/runs/arch=1L'", "sampling.top_s=2"], r"run-arch_1L\+sampling.top_s-2-\w{6}"),
        (["~seed", "+x='ü/é'"], r"x-\+seed--\w{6}"),
        (["x=" + "y" * 300, "seed=1"], r"seed-1\+x-y{30}-\w{6}"),
        ([f"key{n:02}=1" for n in range(99)], r"key00-1\+.{142}-\w{6}"),
    ],
)
def test_job_names_are_legal_and_need_no_quotes(overrides: list[str], name: str) -> None:
    given = job_name(overrides)
    assert re.fullmatch(name, given), given
    assert re.fullmatch(r"[A-Za-z0-9_.+-]{1,160}", given)
    assert job_name(overrides[::-1]) == given


def test_other_overrides_have_other_names() -> None:
    values = [
        "[0,1]",
        "[0],1",
        "(0,1)",
        "0,1",
        "0/1",
        "0//1",
        "1",
        "-1",
        "'1'",
        "y" * 200,
        "z" + "y" * 200,
        "",
        "1+b-2",
    ]
    given = [*([f"a={value}"] for value in values), ["a=1", "b=2"], ["a=1,b=2"], ["a.b=1"], ["a-b=1"], ["a=b=1"]]
    assert len({job_name(overrides) for overrides in given}) == len(given)


CONFIG: dict[str, Any] = {"seed": 0, "trainer": {"epochs": 2, "threads": None}, "arch": {"layers": [{"type": "gmm"}]}}


def written(directory: Path, config: dict[str, Any], status: str | None) -> Path:
    (directory / "meta.json").write_text(json.dumps({"command": "train", "config": config}))
    if status:
        (directory / "result.json").write_text(json.dumps({"status": status}))
    return directory


def test_what_is_done(tmp_path: Path) -> None:
    assert not is_done(written(tmp_path, CONFIG, None), CONFIG)
    for status, done in (("failed", False), ("interrupted", False), ("finished", True)):
        assert is_done(written(tmp_path, CONFIG, status), CONFIG) == done
    # Where it was computed is no other configuration; how is.
    other = json.loads(json.dumps(CONFIG))
    other["trainer"]["threads"] = 4
    assert is_done(tmp_path, other)
    other["trainer"]["epochs"] = 3
    check_same(tmp_path, "train", CONFIG, "hydra.sweep.dir")
    with pytest.raises(InputError, match=r"holds a run with trainer.epochs=2, not 3: give another hydra.sweep.dir"):
        check_same(tmp_path, "train", other, "hydra.sweep.dir")
    with refused(tmp_path, "command=train", "cluster", "hydra.run.dir"):
        check_same(tmp_path, "cluster", CONFIG, "hydra.run.dir")


def test_what_was_done_with_a_model_that_has_been_trained_further_is_not_done(tmp_path: Path) -> None:
    model = tmp_path / "run" / "checkpoints" / "last.pt"
    model.parent.mkdir(parents=True)
    model.touch()
    config = {"run": str(tmp_path / "run")}
    written(tmp_path, config, "finished")
    assert is_done(tmp_path, config)
    later = (tmp_path / "result.json").stat().st_mtime + 1
    os.utime(model, (later, later))
    assert not is_done(tmp_path, config)


def test_interruptions_travel_between_processes() -> None:
    again = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM)))
    assert isinstance(again, Interrupted)
    assert again.signum == signal.SIGTERM
