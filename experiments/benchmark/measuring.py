"""What a piece of work takes: seconds, of the clock and of the processor, and the process's peak memory meanwhile."""

import contextlib
import ctypes
import gc
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROCESS = Path("/proc/self")


@contextlib.contextmanager
def measured(into: dict[str, Any]) -> Iterator[None]:
    """Note `seconds`, `cpu_seconds` and, on Linux, `memory_mb`: the most that the process held, libraries included."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what earlier work has left
        (_PROCESS / "clear_refs").write_text("5")  # the peak starts anew
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        into["seconds"] = round(time.perf_counter() - started, 2)
        into["cpu_seconds"] = round(time.process_time() - cpu_started, 2)
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", (_PROCESS / "status").read_text())
            if found:
                into["memory_mb"] = int(found[1]) // 1024
