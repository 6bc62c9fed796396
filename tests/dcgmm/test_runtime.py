import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dcgmm import arch, runtime
from dcgmm.errors import InputError, OptionError
from dcgmm.model import DCGMM
from dcgmm.runtime import (
    available_cores,
    choose_device,
    describe_device,
    fits,
    require_memory,
    set_threads,
    set_up_cpu,
)
from dcgmm.training import Trainer, TrainerOptions
from tests.refusals import option_refused, refused


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
    ("cuda_devices", "name", "has"),
    [(0, "cuda", "no CUDA device"), (0, "cuda:0", "no CUDA device"), (2, "cuda:2", "2 CUDA devices")],
    indirect=["cuda_devices"],
)
@pytest.mark.usefixtures("cuda_devices")
def test_absent_devices(name: str, has: str) -> None:
    with option_refused("device", name, "cpu", "auto", has):
        choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cpu:0", "CUDA", "cuda 0"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(OptionError) as error:
        choose_device(name)
    assert (error.value.field, error.value.value) == ("device", name)
    assert error.value.rule == "auto, cpu, cuda or cuda:N"


def test_devices_in_words() -> None:
    assert describe_device(torch.device("cpu")) == f"cpu, {torch.get_num_threads()} threads"


@pytest.fixture
def cpu_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as whoever imports the model finds it


@pytest.mark.usefixtures("cpu_settings")
def test_threads() -> None:
    set_threads(2)
    assert torch.get_num_threads() == 2
    set_threads()
    assert torch.get_num_threads() == runtime._THREADS  # not the 2 of what ran before


@pytest.mark.usefixtures("cpu_settings")
@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one(threads: int) -> None:
    before = torch.get_num_threads()
    with pytest.raises(OptionError) as error:
        set_threads(threads)
    assert (error.value.field, error.value.value) == ("threads", threads)
    assert torch.get_num_threads() == before


FORKED = """
import multiprocessing, torch
from dcgmm import DCGMM
torch.set_num_threads(2)
given = torch.ones(400, 400)
given @ given
forked = multiprocessing.get_context("fork").Process(target=lambda: given @ given)
forked.start()
forked.join(60)
print(forked.exitcode)
forked.kill()
"""


def test_a_forked_process_does_not_wait_for_threads_that_it_has_not() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr


def flushes() -> bool:
    tiny = torch.tensor([1e-30], dtype=torch.float32)
    return float(tiny * 1e-10) == 0  # a denormal


@pytest.mark.usefixtures("cpu_settings")
def test_cpu_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_flush_denormal(False)
    assert not flushes()
    set_up_cpu()
    assert flushes()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(ctypes, "CDLL")
    set_up_cpu()  # asks for no C library where it is not glibc's


def test_whoever_has_a_model_computes_as_fast_as_the_command_line() -> None:
    script = """
import os
import re
import dcgmm
assert os.environ["GOMP_SPINCOUNT"] == "3000"
dcgmm.DCGMM
import torch
assert float(torch.tensor([1e-30]) * 1e-10) == 0
"""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_what_the_user_says_of_spinning_threads_stays() -> None:
    script = "import os, dcgmm; assert os.environ['GOMP_SPINCOUNT'] == '7'"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "GOMP_SPINCOUNT": "7"})


def test_cores_of_this_process() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_a_model_needs_more_than_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = arch("1L")
    model, images = DCGMM.build((28, 28, 1), layers), torch.rand(4, 28, 28, 1)
    size = sum(each.nbytes for each in model.parameters())
    monkeypatch.setattr("dcgmm.runtime._free_memory", lambda: 4 * size)
    with refused("G(25)", "28x28x1:", "GB"):
        DCGMM.build((28, 28, 1), layers)
    with refused("steps", 2, 1, "GB"):
        Trainer(model, images, TrainerOptions(steps=2, batch_size=2), [torch.Generator()])


def test_what_cannot_fit_is_refused_before_it_is_taken() -> None:
    require_memory(1e3, "a little")
    with pytest.raises(InputError, match=r"^much: this needs about 1,000,000 GB of memory, .* GB are free$"):
        require_memory(1e15, "much")
    with refused("G(900000000)", "28x28x9:", "GB"):
        DCGMM.build((28, 28, 9), [{"type": "gmm", "components": 30_000**2}])
    with refused("G(9)", "1000000000x1x1000000000:", "GB"):  # more than can be counted
        DCGMM.build((10**9, 1, 10**9), [{"type": "folding", "kernel": [10**9, 1]}, {"type": "gmm", "components": 9}])


def test_of_the_machine_s_and_the_container_s_memory_the_less_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_GROUP", tmp_path)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    require_memory(5000, "x")
    (tmp_path / "memory.max").write_text("4000\n")
    require_memory(3000, "x")
    with pytest.raises(InputError):
        require_memory(3001, "x")


def test_on_a_gpu_what_is_free_there_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (700, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 200)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    require_memory(800, "x", gpu)
    with refused("x:", "cuda:1"):
        require_memory(801, "x", gpu)
    assert fits(torch.zeros(400, dtype=torch.uint8), gpu)
    assert not fits(torch.zeros(401, dtype=torch.uint8), gpu)
    assert fits(torch.zeros(10_000, dtype=torch.uint8), torch.device("cpu"))
