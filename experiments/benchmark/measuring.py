"""What a piece of work takes: seconds, and the process's peak memory while it was done."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROCESS = Path("/proc/self")


@contextlib.contextmanager
def measured(into: dict[str, Any], seconds: str = "seconds") -> Iterator[None]:
    """Note seconds and, on Linux, `memory_mb`: the most memory that the process held, its libraries included."""
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")  # the peak starts anew
    started = time.perf_counter()
    try:
        yield
    finally:
        into[seconds] = round(time.perf_counter() - started, 2)
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", (_PROCESS / "status").read_text())
            if found:
                into["memory_mb"] = max(into.get("memory_mb", 0), int(found[1]) // 1024)
