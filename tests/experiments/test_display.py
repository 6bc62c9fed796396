from pathlib import Path

import pytest

from experiments.paper.display import Display, Estimator, in_words
from tests.experiments.tasks import job

HERE = Path("root")


def test_a_job_is_expected_to_take_what_its_kind_took_or_else_its_share_of_its_commands() -> None:
    estimator = Estimator()
    quick, slow, other = (
        job(HERE, name, verb, cost=cost) for name, verb, cost in zip("abc", "xxy", (2, 10, 4), strict=True)
    )
    assert estimator.expect(quick) == 2
    estimator.learn(quick, 1.0)
    assert estimator.expect(quick) == 1.0
    assert estimator.expect(slow) == 1.0  # of the same kind
    renamed = job(HERE, "d", "x", cost=10)
    assert estimator.expect(type(renamed)(**{**vars(renamed), "kind": "unseen"})) == 5.0  # half of its cost, as quick
    assert estimator.expect(other) == 4  # nothing is known of its command


def test_what_remains_is_shared_by_the_workers_but_no_job_is_split() -> None:
    estimator = Estimator()
    waiting = [job(HERE, str(n), f"verb{n}", cost=10) for n in range(4)]
    running = {"r": (job(HERE, "r", "run", cost=8), 6.0)}
    assert estimator.remaining(waiting, running, 2) == 21.0
    assert estimator.remaining(waiting[:1], {}, 4) == 10.0
    assert estimator.remaining([], {"r": (running["r"][0], 99.0)}, 4) == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59, "59 s"), (61, "1 min"), (3570, "1 h 0 min"), (6000, "1 h 40 min")]
)
def test_time_spans_are_read_easily(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_plain_lines_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with Display(total=5, done=1, every=0.0) as display:
        display.show(2, 1, [job(HERE, "r", "run")], 1, 90.0)
    assert capfd.readouterr().err.splitlines() == [
        "4 of 5 jobs to do, 1 were done before",
        "2 of 5 done, 1 running, 1 failed, 1 left, about 2 min to go",
    ]
