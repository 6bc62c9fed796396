"""What a process sets up before it computes: device, number type, threads, memory."""

import contextlib
import ctypes
import sys

import torch

from dcgmm_cli.errors import UserError

DTYPES = {"float32": torch.float32, "float64": torch.float64}
_THREADS = torch.get_num_threads()  # what a process starts with: as many as the machine, or its settings, offer


def choose_device(name: str, key: str = "device") -> torch.device:
    """Device by its name: auto, cpu, cuda or cuda:N; `key` is the one that it was given by.

    Raises:
        UserError: the name is unknown, or there is no such CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if name != "cpu" and (kind != "cuda" or (":" in name and not index.isdecimal())):
        raise UserError(f"{key}={name} is unknown; choose auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        found = f"this machine has {count} CUDA devices" if count else "this machine has no CUDA device"
        raise UserError(f"{key}={name}: {found}; use {key}=cpu or {key}=auto")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """A device in words, for `meta.json`."""
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} threads"


def choose_dtype(name: str) -> torch.dtype:
    """Number type of the key `trainer.dtype`.

    Raises:
        UserError: the name is neither float32 nor float64.
    """
    if name not in DTYPES:
        raise UserError(f"trainer.dtype={name} is unknown; choose {' or '.join(DTYPES)}")
    return DTYPES[name]


def set_up_cpu(threads: int | None = None, key: str = "threads") -> None:
    """Set the number of threads, by default that which the process started with, and two things that speed hangs on.

    Responsibilities far from their component underflow to denormal numbers, which slow matrix products down many
    times: they are flushed to zero. And glibc gives each large temporary back to the system, so that every step
    pays for its page faults again: it is told to keep them.

    Raises:
        UserError: `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise UserError(f"{key} must be at least 1, not {threads}")
    torch.set_num_threads(threads or _THREADS)  # not as many as the job had that this process ran before
    torch.set_flush_denormal(True)
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another C library
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            trim_threshold, mmap_max = -1, -4
            mallopt(mmap_max, 0)  # memory of its own for no temporary, however large
            mallopt(trim_threshold, 2**30)
