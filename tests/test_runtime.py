import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from dcgmm_cli import runtime
from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interrupted, Interruption
from dcgmm_cli.runtime import choose_device, choose_dtype, describe_device, set_up_cpu

BOTH = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def cuda_devices(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    count: int = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("cuda_devices", "name", "device"),
    [(0, "auto", "cpu"), (2, "auto", "cuda"), (2, "cpu", "cpu"), (2, "cuda", "cuda"), (2, "cuda:1", "cuda:1")],
    indirect=["cuda_devices"],
)
@pytest.mark.usefixtures("cuda_devices")
def test_devices(name: str, device: str) -> None:
    assert choose_device(name) == torch.device(device)


@pytest.mark.parametrize(
    ("cuda_devices", "name", "message"),
    [
        (0, "cuda", "device=cuda: this machine has no CUDA device; use device=cpu or device=auto"),
        (0, "cuda:0", "device=cuda:0: this machine has no CUDA device; use device=cpu or device=auto"),
        (2, "cuda:2", "device=cuda:2: this machine has 2 CUDA devices; use device=cpu or device=auto"),
    ],
    indirect=["cuda_devices"],
)
@pytest.mark.usefixtures("cuda_devices")
def test_absent_devices(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        choose_device(name)
    assert str(error.value) == message


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cpu:0", "CUDA", "cuda 0"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(UserError) as error:
        choose_device(name)
    assert str(error.value) == f"device={name} is unknown; choose auto, cpu, cuda or cuda:N"


def test_devices_in_words() -> None:
    assert describe_device(torch.device("cpu")) == f"cpu, {torch.get_num_threads()} threads"


def test_dtypes() -> None:
    assert choose_dtype("float32") is torch.float32
    assert choose_dtype("float64") is torch.float64
    for name in ("float16", "double", ""):
        with pytest.raises(UserError) as error:
            choose_dtype(name)
        assert str(error.value) == f"trainer.dtype={name} is unknown; choose float32 or float64"


@pytest.fixture
def cpu_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("cpu_settings")
def test_cpu_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up_cpu(2)
    assert torch.get_num_threads() == 2
    set_up_cpu()
    assert torch.get_num_threads() == runtime._THREADS  # not the 2 of what ran before
    tiny = torch.tensor([1e-30], dtype=torch.float32)
    assert float(tiny * 1e-10) == 0  # a denormal, flushed
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(ctypes, "CDLL")
    set_up_cpu()  # asks for no C library where it is not glibc's


@pytest.mark.usefixtures("cpu_settings")
@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one(threads: int) -> None:
    before = torch.get_num_threads()
    with pytest.raises(UserError, match=f"threads must be at least 1, not {threads}"):
        set_up_cpu(threads)
    assert torch.get_num_threads() == before


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
