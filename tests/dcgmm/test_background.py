import threading
from typing import Any

import pytest
import torch

from dcgmm.background import Background, on_host, pinned


def test_a_call_goes_on_beside_the_one_that_waits_for_it() -> None:
    gate = threading.Event()
    call = Background(lambda: gate.wait() and 3)
    assert not call.is_done
    gate.set()
    assert [call.result(), call.result()] == [3, 3]


def test_an_error_is_raised_by_whoever_asks_for_the_result() -> None:
    call = Background(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            call.result()


def test_what_is_on_the_host_stays_as_it_is() -> None:
    values = torch.rand(3)
    state: dict[str, Any] = {"a": [values, (1, "b")], "c": None}
    copy, wait = on_host(state)
    wait()
    assert copy == state
    assert copy["a"][0] is values
    assert pinned(values, torch.device("cpu")) is values


@pytest.mark.gpu
def test_copies_keep_the_values_of_their_time() -> None:
    values = torch.arange(1_000_000, device="cuda")
    copy, wait = on_host([values])
    values.zero_()
    wait()
    assert copy[0].device.type == "cpu"
    assert torch.equal(copy[0], torch.arange(1_000_000))
