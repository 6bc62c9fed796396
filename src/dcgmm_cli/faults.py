"""What the machine refuses while a command runs, as the one line that it is for its user."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from dcgmm.errors import InputError
from dcgmm.files import system_error
from dcgmm_cli.keys import keys
from dcgmm_cli.schema import SCHEMAS

# What a disk, a mount or its owner says; other errors of the operating system are ours.
_STORAGE = {
    getattr(errno, name)
    for name in (
        "EACCES",
        "EDQUOT",
        "EEXIST",
        "ENAMETOOLONG",
        "ENOTDIR",
        "EISDIR",
        "EFBIG",
        "EIO",
        "ENOSPC",
        "EPERM",
        "EROFS",
        "ESTALE",
    )
    if hasattr(errno, name)
}
_SIZES = ("batch_size", "limit", "replicas", "count", "images")  # keys that memory hangs on


@contextlib.contextmanager
def explained(command: str, written: Path | None) -> Iterator[None]:
    """Turn what a full disk, a directory that is gone or too little memory raises into mistakes in what was given.

    Raises:
        InputError: it was such a thing.
    """
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        if fault := storage_fault(error):
            raise InputError(f"{fault.filename or 'a file'} cannot be used: {fault.strerror}") from error
        if isinstance(error, OSError) and written is not None and not os.path.isdir(written):
            raise InputError(f"{written} is not there any more: it was removed while the command ran") from error
        if _is_out_of_memory(error):
            sizes = [key.name for key in keys(SCHEMAS[command]) if key.field.name in _SIZES]
            raise InputError(f"not enough memory ({_first_line(error)}): lower {' or '.join(sizes)}") from error
        raise


def storage_fault(error: Exception) -> OSError | None:
    """What a disk, a mount or its owner refused, also behind another error; None where it is nothing of that kind."""
    cause = system_error(error)
    return cause if cause is not None and cause.errno in _STORAGE else None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory was lacking: torch says so in words."""
    said = str(error)
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in said or "bad_alloc" in said
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_torchs)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rpartition("DefaultCPUAllocator: ")[2]
