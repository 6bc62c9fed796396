import json
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest

from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interrupted
from dcgmm_cli.sweeps import RECORD, JobOutcome, collect, is_done, job_name, new_record, summary, tell

OUTCOMES = [
    JobOutcome(["seed=0"], "finished", 0),
    JobOutcome(["seed=1"], "skipped", 0),
    JobOutcome(["seed=2", "arch=1L"], "failed", 2, "no data"),
    JobOutcome(["seed=3"], "interrupted", 130, "stopped by a signal"),
]


def test_outcomes_reach_the_process_that_collects_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = new_record(str(tmp_path / "sweep"))
    monkeypatch.setenv(RECORD, str(record))
    for outcome in OUTCOMES:
        tell(outcome)
    assert collect(record) == OUTCOMES
    assert not list((tmp_path / "sweep").iterdir())
    monkeypatch.delenv(RECORD)
    tell(OUTCOMES[0])  # no job of a sweep: nobody to tell
    assert not list((tmp_path / "sweep").iterdir())


def test_lines_of_jobs_that_end_together_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = new_record(str(tmp_path))
    monkeypatch.setenv(RECORD, str(record))
    children = []
    for number in range(4):
        if (child := os.fork()) == 0:
            for _ in range(50):
                tell(JobOutcome([f"seed={number}"] * 20, "finished", 0))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    outcomes = collect(record)
    assert len(outcomes) == 200
    assert all(len(set(outcome.overrides)) == 1 for outcome in outcomes)


def test_the_summary_counts_and_names() -> None:
    assert summary(OUTCOMES).splitlines() == [
        "sweep of 4 jobs: 1 finished, 1 skipped (done before), 2 failed",
        "  failed: seed=2 arch=1L: no data",
        "  interrupted: seed=3: stopped by a signal",
    ]
    assert summary(OUTCOMES[:1]) == "sweep of 1 jobs: 1 finished"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("arch=1L,seed=0", "arch=1L,seed=0"),
        ("", "job-e3b0c4"),
        ("dataset.classes=[0,1]", r"dataset.classes=_0,1-\w{6}"),
        ("run=/a/b/../c d", r"run=_a_b_.._c_d-\w{6}"),
        ("x=" + "y" * 300, r"x=y{98}-\w{6}"),
    ],
)
def test_job_names_are_legal_and_distinct(overrides: str, name: str) -> None:
    import re

    given = job_name(overrides)
    assert re.fullmatch(name, given), given
    assert len(given) <= 110
    assert "/" not in given
    assert job_name(overrides) == given


def test_other_overrides_have_other_names() -> None:
    given = ["a=[0,1]", "a=[0],1", "a=(0,1)", "a=0,1", "a=0/1", "a=0//1", "b=" + "y" * 200, "b=" + "y" * 201]
    assert len({job_name(overrides) for overrides in given}) == len(given)


CONFIG: dict[str, Any] = {"seed": 0, "trainer": {"epochs": 2, "threads": None}, "arch": {"layers": [{"type": "gmm"}]}}


def written(directory: Path, config: dict[str, Any], status: str | None) -> Path:
    (directory / "meta.json").write_text(json.dumps({"config": config}))
    if status:
        (directory / "result.json").write_text(json.dumps({"status": status}))
    return directory


def test_what_is_done(tmp_path: Path) -> None:
    assert not is_done(tmp_path, CONFIG)
    assert not is_done(written(tmp_path, CONFIG, None), CONFIG)
    for status, done in (("failed", False), ("interrupted", False), ("finished", True)):
        assert is_done(written(tmp_path, CONFIG, status), CONFIG) == done
    # Where it was computed is no other configuration; how is.
    other = json.loads(json.dumps(CONFIG))
    other["trainer"]["threads"] = 4
    assert is_done(tmp_path, other)
    other["trainer"]["epochs"] = 3
    with pytest.raises(UserError, match=r"holds a run with trainer.epochs=2, not 3: give the sweep another"):
        is_done(tmp_path, other)


def test_interruptions_travel_between_processes() -> None:
    again = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM)))
    assert isinstance(again, Interrupted)
    assert again.signum == signal.SIGTERM
