import os
import signal
from typing import Any

import pytest
import torch

from dcgmm.distributed import ALONE, Processes, are_started, digest, joined
from dcgmm.errors import InputError, LostProcessError
from tests.together import together


def said(call: Any) -> str:
    """What an error says."""
    try:
        call()
    except (InputError, LostProcessError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def conversation() -> dict[str, Any]:
    processes = Processes.current()
    rank = processes.rank

    def refuse() -> int:
        raise InputError("no such run")

    whole, scalar = processes.summed([torch.arange(6.0).view(2, 3), torch.tensor(1.0 + rank)])
    found: dict[str, Any] = {
        "whole": whole.tolist(),
        "scalar": scalar.tolist(),
        "rows": processes.rows(7),
        "gathered": processes.gathered({"rank": rank}),
        "from_first": processes.from_first(lambda: f"of {rank}"),
        "refused": said(lambda: processes.from_first(refuse)),
        "same": said(lambda: processes.require_same({"images": 1})),
        "other": said(lambda: processes.require_same({"images": 1, "options": rank, "seeds": rank})),
        "shares": [processes.shared(list(range(count)))[0] for count in (1, 5)],
        "concatenated": processes.concatenated({"a": torch.arange(rank + 1)})["a"].tolist(),
    }
    wishes = []
    for step in range(4):
        processes.summed([torch.zeros(1)])
        wishes.append(processes.agree(rank == 1 and step == 1))
    return found | {"wishes": wishes}


def test_what_processes_tell_each_other_is_the_same_for_all() -> None:
    first, second = together(2, conversation)
    assert first.pop("rows") == slice(0, 3)
    assert second.pop("rows") == slice(3, 7)
    assert [first.pop("shares"), second.pop("shares")] == [[[0], [0, 1]], [[0], [2, 3, 4]]]
    assert first == second
    assert first["whole"] == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
    assert first["scalar"] == 3.0
    assert first["gathered"] == [{"rank": 0}, {"rank": 1}]
    assert first["from_first"] == "of 0"
    assert first["concatenated"] == [0, 0, 1]
    assert first["refused"] == "InputError: no such run"
    assert first["same"] == "nothing"
    assert first["other"].startswith("InputError: process 1 (")
    assert "has other options and seeds than process 0 (" in first["other"]
    # What one wished for after the second sums went with the third, and is dropped again.
    assert first["wishes"] == [False, False, True, False]


def ending(how: str) -> str:
    processes = Processes.current()
    processes.gathered(0)  # all are there
    if processes.rank == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        processes.tell_end("no space left")
        return "ended"
    return said(lambda: processes.summed([torch.zeros(100_000)]))


@pytest.mark.parametrize(
    ("how", "words"), [("killed", "has ended without a word"), ("told", "has ended: no space left")]
)
def test_who_ends_and_why_is_told_to_those_who_wait(how: str, words: str) -> None:
    first, _, third = together(3, ending, how)
    for told in (first, third):
        assert told.startswith("LostProcessError: process 1 (")
        assert told.endswith(words)
    assert "process 2" not in first


def test_alone_nothing_is_exchanged() -> None:
    tensor = torch.ones(2)
    assert ALONE.summed([tensor])[0] is tensor
    assert ALONE.gathered(3) == [3]
    assert ALONE.from_first(lambda: 4) == 4
    ALONE.require_same({"images": 1})
    assert ALONE.agree(True)
    assert not ALONE.agree(False)
    assert ALONE.is_first
    with joined() as processes:
        assert processes is ALONE


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"RANK": "0", "WORLD_SIZE": "1"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True),
        ({"WORLD_SIZE": "2"}, False),
        ({"RANK": "0", "WORLD_SIZE": "many"}, False),
    ],
)
def test_the_environment_says_whether_there_are_others(
    environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert are_started() == expected


def test_a_digest_tells_images_apart() -> None:
    images = torch.arange(48, dtype=torch.uint8).view(3, 4, 4, 1)
    others = [images.flip(0), images[:2], images.view(3, 2, 8, 1), images.float(), images + 1]
    assert len({digest(each) for each in [images, *others]}) == 6
