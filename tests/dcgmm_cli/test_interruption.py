import os
import signal
import subprocess
import sys
import threading

import pytest

from dcgmm_cli.interruption import Interrupted, Interruption

BOTH = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])


def receive(signum: int) -> None:
    """Send a signal to this process; its handler has run when this returns."""
    assert threading.current_thread() is threading.main_thread()
    os.kill(os.getpid(), signum)


@BOTH
def test_a_signal_interrupts_at_once(signum: int) -> None:
    with pytest.raises(Interrupted) as caught, Interruption().installed():
        receive(signum)
    assert caught.value.signum == signum
    assert str(caught.value) == signal.Signals(signum).name
    assert isinstance(caught.value, KeyboardInterrupt)  # what `except Exception` does not swallow


@BOTH
def test_a_held_signal_waits_for_the_check(signum: int) -> None:
    done = []
    with Interruption().installed() as interruption:
        interruption.check()
        with interruption.held():
            interruption.check()
            receive(signum)
            done.append("after the signal")
            assert interruption.pending == signum
            with pytest.raises(Interrupted) as caught:
                interruption.check()
    assert done == ["after the signal"]
    assert caught.value.signum == signum


def test_a_signal_that_nobody_checked_in_the_block_is_not_lost() -> None:
    with Interruption().installed() as interruption:
        with interruption.held():
            receive(signal.SIGTERM)
        with pytest.raises(Interrupted):
            interruption.check()


def test_a_second_signal_is_not_held() -> None:
    with Interruption().installed() as interruption, interruption.held():
        receive(signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            receive(signal.SIGTERM)
    assert caught.value.signum == signal.SIGTERM


def as_torch_save_does(signum: int) -> None:
    try:
        receive(signum)
    except Interrupted:
        raise RuntimeError("unexpected pos 704 vs 598") from None


@BOTH
def test_a_signal_is_told_where_a_library_makes_an_error_of_its_own_of_it(signum: int) -> None:
    with pytest.raises(Interrupted) as caught, Interruption().installed() as interruption, interruption.told():
        as_torch_save_does(signum)
    assert caught.value.signum == signum


def test_an_error_while_a_signal_waits_is_an_error() -> None:
    interruption = Interruption()
    with interruption.installed(), interruption.held():
        receive(signal.SIGTERM)
        with pytest.raises(ZeroDivisionError), interruption.told():
            raise ZeroDivisionError


def test_after_a_held_block_signals_come_at_once_again() -> None:
    with Interruption().installed() as interruption:
        with pytest.raises(ZeroDivisionError), interruption.held():
            raise ZeroDivisionError
        with pytest.raises(Interrupted):
            receive(signal.SIGINT)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_the_old_handlers_come_back() -> None:
    before = handlers()
    with Interruption().installed():
        assert all(one != other for one, other in zip(handlers(), before, strict=True))
    assert handlers() == before
    with pytest.raises(ZeroDivisionError), Interruption().installed():
        raise ZeroDivisionError
    assert handlers() == before


def test_a_patient_one_holds_every_signal() -> None:
    with Interruption(patient=True).installed() as interruption, interruption.held():
        receive(signal.SIGINT)
        receive(signal.SIGTERM)
        assert interruption.pending == signal.SIGTERM


WAITING = """
import signal, threading
from dcgmm_cli.interruption import leaving_at_once
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
lock = threading.Lock()
lock.acquire()
with leaving_at_once():
    pass
signal.raise_signal(signal.SIGTERM)
with leaving_at_once():
    print("waits", flush=True)
    lock.acquire()
"""


@BOTH
def test_a_signal_ends_what_waits_where_its_handler_does_not(signum: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signum, "dcgmm: interrupted\n")
