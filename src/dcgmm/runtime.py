"""What a process sets up before it computes: device, threads, memory."""

import contextlib
import ctypes
import functools
import os
import sys
from pathlib import Path

import torch

from dcgmm.errors import InputError, OptionError

_GROUP = Path("/sys/fs/cgroup")  # this process's container
_THREADS = torch.get_num_threads()  # what a process starts with: as many as the machine, or its settings, offer


def choose_device(name: str) -> torch.device:
    """Device by its name: auto (CUDA where there is one), cpu, cuda or cuda:N.

    Raises:
        OptionError: the name is unknown, or there is no such CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if name != "cpu" and (kind != "cuda" or (":" in name and not index.isdecimal())):
        raise OptionError("device", "auto, cpu, cuda or cuda:N", name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        found = f"this machine has {count} CUDA devices" if count else "this machine has no CUDA device"
        raise OptionError("device", f"cpu or auto ({found})", name)
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """A device in words, for `meta.json`."""
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} threads"


def set_threads(threads: int | None = None) -> None:
    """Set the number of CPU threads; None is as many as the process started with.

    Raises:
        OptionError: `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise OptionError("threads", "a whole number of at least 1", threads)
    torch.set_num_threads(threads or _THREADS)  # not as many as the job had that this process ran before


def set_up_cpu() -> None:
    """Set up two things that speed hangs on, and one thread for processes that are forked from this one.

    Responsibilities far from their component underflow to denormal numbers, which slow matrix products down many
    times: they are flushed to zero. And glibc gives each large temporary back to the system, so that every step
    pays for its page faults again: it is told to keep them.

    A forked process has none of this one's threads, but OpenMP believes so, and would wait for them for ever.
    """
    torch.set_flush_denormal(True)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another C library
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            trim_threshold, mmap_max = -1, -4
            mallopt(mmap_max, 0)  # memory of its own for no temporary, however large
            mallopt(trim_threshold, 2**30)


_CPU = torch.device("cpu")


def require_memory(size: float, what: str, device: torch.device = _CPU) -> None:
    """Refuse what cannot fit before any of it is taken: later the system would end the process without a word.

    Args:
        size: bytes.
        what: needs them, in words.
        device: where.

    Raises:
        InputError: more is needed than is free.
    """
    free = _free_on_gpu(device) if device.type == "cuda" else _free_memory()
    if free is not None and size > free:
        where = f" on {device}" if device.type == "cuda" else ""
        raise InputError(f"{what}: this needs about {_in_words(size)} of memory{where}, {_in_words(free)} are free")


def fits(values: torch.Tensor, device: torch.device) -> bool:
    """Whether values may lie on a device, with as much room left for what is made of them; on the CPU they do."""
    return device.type != "cuda" or values.device == device or 2 * values.nbytes <= _free_on_gpu(device)


def _free_on_gpu(device: torch.device) -> int:
    """Bytes that this process may still take: what nobody has, and what torch keeps for it."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@functools.cache
def memory_of(device: torch.device) -> int:
    """Bytes of a GPU in all."""
    return torch.cuda.get_device_properties(device).total_memory


def _in_words(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB"


def _free_memory() -> int | None:
    """Bytes that this process may still take, of the machine's and of its container's; None where that is not told."""
    free = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        limit, used = (int((_GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        free.append(max(0, limit - used))
    return min(free, default=None)


def available_cores() -> int:
    """Cores that this process may use: of its affinity, and of its container's share."""
    from joblib import cpu_count

    return int(cpu_count())
