"""The runner: order, failures, what is missing, signals. Jobs are `tests.experiments.tasks`."""

import dataclasses
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcgmm.files import write_json
from experiments.paper.plan import Job
from experiments.paper.runner import Outcome, run_jobs
from tests.experiments.tasks import job, obey

REPOSITORY = Path(__file__).parents[2]


def run(root: Path, jobs: list[Job], workers: int = 1) -> Outcome:
    outcome = Outcome()
    run_jobs(jobs, workers, root / "logs", obey, outcome)
    return outcome


def calls(root: Path) -> list[str]:
    return (root / "calls").read_text().split() if (root / "calls").exists() else []


def test_the_most_urgent_and_then_the_longest_come_first_each_after_what_it_needs(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "late", "finish", level=1, cost=100),
        job(tmp_path, "short", "finish"),
        job(tmp_path, "long", "finish", cost=9),
        job(tmp_path, "longest-but-needy", "finish", cost=50, needs=("short",)),
    ]
    outcome = run(tmp_path, jobs)
    # `long` is the longest that is ready; what becomes ready is then longer than what waits.
    assert calls(tmp_path) == ["long", "short", "longest-but-needy", "late"]
    assert sorted(outcome.ran) == ["late", "long", "longest-but-needy", "short"]
    assert not outcome.failed


def test_a_failure_is_named_and_stops_only_what_needs_it(tmp_path: Path) -> None:
    verbs = {"complain": 1, "mistake": 2, "raise": 1, "exit": 2, "die": None, "nothing": 0}
    jobs = [job(tmp_path, verb, verb) for verb in verbs]
    jobs += [
        job(tmp_path, "needy", "finish", needs=("mistake",)),
        job(tmp_path, "needier", "finish", needs=("needy",)),
        job(tmp_path, "fine", "finish", level=1),
    ]
    outcome = run(tmp_path, jobs, workers=2)
    assert outcome.done == ["fine"]
    assert outcome.not_run == {"needy": "mistake", "needier": "mistake"}
    assert outcome.failed == {
        "complain": "the reason, in the last line (exit code 1)",
        "mistake": "epochs must be at least 1 (exit code 2)",
        "raise": "RuntimeError: unforeseen (exit code 1)",
        "exit": f"dcgmm exit {tmp_path / 'exit'} (exit code 2)",
        "die": "the process ended with code -9",
        "nothing": "it left no result",
    }
    assert "Traceback" in (tmp_path / "logs" / "raise.log").read_text()


def test_only_what_is_missing_runs(tmp_path: Path) -> None:
    fetch = Job("fetch", "fetch", ("nothing", str(tmp_path / "fetch")), None, (), (), 0, 1)
    jobs = [fetch, *(job(tmp_path, name, "finish", needs=("fetch",)) for name in ("a", "b", "c", "d"))]
    write_json(tmp_path / "a" / "result.json", {"status": "finished"})
    write_json(tmp_path / "b" / "result.json", {"status": "interrupted"})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "torn").touch()  # of a job that was killed
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "result.json").write_text('{"status": "fini')
    run(tmp_path, jobs)
    assert calls(tmp_path)[0] == "fetch"
    assert sorted(calls(tmp_path)[1:]) == ["b", "c", "d"]
    assert not (tmp_path / "c" / "torn").exists()

    again = run(tmp_path, jobs)  # nothing needs fetching any more
    assert len(calls(tmp_path)) == 4
    assert not again.ran
    assert sorted(again.done) == ["a", "b", "c", "d", "fetch"]


def test_a_job_that_makes_several_runs_elsewhere_has_them_moved_once_it_is_whole(tmp_path: Path) -> None:
    together = job(tmp_path, "together", "finish")
    made = [together.results[0] / "replicas" / name for name in ("x", "y")]
    wanted = [tmp_path / name for name in ("x", "y")]
    whole = dataclasses.replace(together, results=tuple(wanted), moves=tuple(zip(made, wanted, strict=True)))
    for directory in made:
        write_json(directory / "result.json", {"status": "finished", "from": "replicas"})
    write_json(wanted[0] / "result.json", {"status": "finished", "from": "before"})
    write_json(together.results[0] / "result.json", {"status": "finished"})
    outcome = run(tmp_path, [whole])
    assert outcome.done == ["together"]
    assert not calls(tmp_path)  # it was whole: only the moving was left to do
    assert '"before"' in (wanted[0] / "result.json").read_text()
    assert '"replicas"' in (wanted[1] / "result.json").read_text()


MODULE = [sys.executable, "-m", "tests.experiments.tasks"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A start of the module `tasks` whose job is under way, and a fifo that the job's process holds open."""
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen([*MODULE, str(tmp_path)], cwd=REPOSITORY) as process:
        try:
            assert select.select([fifo], [], [], 60)[0], "the job did not start"
            assert os.read(fifo, 100) == b"under way"
            yield process, fifo
        finally:
            process.kill()
            os.close(fifo)


def closed(fifo: int) -> bool:
    """Whether the job's process ends within a minute."""
    return bool(select.select([fifo], [], [], 60)[0]) and os.read(fifo, 100) == b""


def test_an_interrupted_start_lets_jobs_save_and_the_next_goes_on(
    tmp_path: Path, started: tuple[subprocess.Popen[bytes], int], capfd: pytest.CaptureFixture[str]
) -> None:
    process, fifo = started
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert closed(fifo)
    assert "Traceback" not in capfd.readouterr().err
    assert (tmp_path / "saved").exists()
    assert calls(tmp_path) == ["held"]
    assert subprocess.run([*MODULE, str(tmp_path)], cwd=REPOSITORY, timeout=60).returncode == 0
    assert calls(tmp_path) == ["held", "held", "after"]


def test_no_job_outlives_a_start_that_is_killed(tmp_path: Path, started: tuple[subprocess.Popen[bytes], int]) -> None:
    process, fifo = started
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert closed(fifo)
    assert not (tmp_path / "saved").exists()
