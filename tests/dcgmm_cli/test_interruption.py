import os
import signal
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
