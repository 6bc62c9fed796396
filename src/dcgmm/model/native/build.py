"""C++ sources of the package, compiled for this processor when they are first wanted and kept in the user's cache."""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError
from dcgmm.files import DAY, sweep_temporary, write_whole

log = logging.getLogger(__name__)

_DIGEST = 64  # characters
COMPILERS = ("g++", "c++")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-fopenmp")
MORE_FLAGS = "DCGMM_CXXFLAGS"  # environment variable with further ones, as `make sanitize` gives


@functools.cache
def library(code: Path) -> ctypes.CDLL | None:
    """The compiled functions of a source file.

    Returns None, and says why in the log, where there is no compiler or it fails.
    """
    try:
        path = _cached(code)
        if not _is_whole(path):
            _compile(code, path)
        return ctypes.CDLL(str(path))
    except (OSError, InputError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: no home directory
        said = (getattr(error, "stderr", None) or str(error)).strip()
        log.warning("computing without %s, which is slower: %s", code.name, said.splitlines()[0] if said else error)
        return None


def declare(loaded: ctypes.CDLL, passes: Mapping[str, str], types: Mapping[str, Any]) -> ctypes.CDLL:
    """Say what each pass takes, a letter for each type: a call with too few arguments fails before it is made."""
    for name, letters in passes.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = [types[letter] for letter in letters], None
    return loaded


def _cached(code: Path) -> Path:
    """Where the library is kept: other sources, other flags and another kind of processor have another."""
    processor = platform.machine()
    if (description := Path("/proc/cpuinfo")).exists():
        lines = description.read_text().splitlines()
        processor = next((line for line in lines if line.startswith(("flags", "Features"))), processor)
    sources = b"".join(each.read_bytes() for each in (code, *sorted(code.parent.glob("*.h"))))
    key = hashlib.sha256(sources + repr((_flags(), processor)).encode()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "dcgmm" / "compiled" / f"{code.stem}-{key}.so"


def _flags() -> tuple[str, ...]:
    return (*_FLAGS, *os.environ.get(MORE_FLAGS, "").split())


def _is_whole(path: Path) -> bool:
    """Whether a library is what the compiler wrote: one that was cut off would end the process with a bus error."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content == _marked(content[:-_DIGEST])


def _marked(content: bytes) -> bytes:
    """A library with its digest behind its end, where the loader does not look."""
    return content + hashlib.sha256(content).hexdigest().encode()


def _compile(code: Path, path: Path) -> None:
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise FileNotFoundError(f"no C++ compiler here ({', '.join(COMPILERS)})")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporary(path.parent, older=DAY)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        command = [compiler, *_flags(), str(code), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        content = _marked(made.read_bytes())
    # Processes that compile it at the same time never see half a one.
    write_whole(path, lambda file: file.write(content))
