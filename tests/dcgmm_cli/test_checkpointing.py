import threading
import time

import pytest

from dcgmm.errors import InputError
from dcgmm_cli.checkpointing import Checkpoints


def failing() -> None:
    raise InputError("no space left")


def test_one_is_written_at_a_time_while_others_are_not_due() -> None:
    gate, written = threading.Event(), list[int]()

    def waiting() -> None:
        gate.wait()
        written.append(1)

    with Checkpoints() as checkpoints:
        assert checkpoints.is_due()
        checkpoints.begin(waiting, time.monotonic())
        assert not checkpoints.is_due()
        gate.set()
        checkpoints.begin(lambda: written.append(2), time.monotonic())
        assert written[0] == 1
    assert written == [1, 2]


def test_no_more_than_a_tenth_of_the_time_goes_into_them() -> None:
    with Checkpoints() as checkpoints:
        checkpoints.begin(lambda: None, time.monotonic() - 100)
        checkpoints.finish()
        assert not checkpoints.is_due()


def test_what_went_wrong_is_raised_where_the_next_one_is_asked_for() -> None:
    checkpoints = Checkpoints()
    checkpoints.begin(failing, time.monotonic())
    with pytest.raises(InputError, match="no space left"):
        checkpoints.begin(failing, time.monotonic())
    checkpoints.begin(failing, time.monotonic())
    with pytest.raises(InputError, match="no space left"), checkpoints:
        pass


def test_an_error_of_training_itself_goes_first() -> None:
    def training() -> None:
        with Checkpoints() as checkpoints:
            checkpoints.begin(failing, time.monotonic())
            raise InputError("diverged")

    with pytest.raises(InputError, match="diverged"):
        training()
