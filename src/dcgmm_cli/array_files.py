"""Arrays out of .npy and .npz files that a key gives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcgmm.errors import InputError


def read_array(key: str, path: str, member: str) -> NDArray[Any]:
    """The array of a file; of an archive the one of a given name, or the only one.

    Args:
        key: which gives it, for errors.
        path: as given.
        member: the array's name in an archive.

    Raises:
        InputError: there is no such file, it cannot be read, or holds no such array.
    """
    file = Path(path).expanduser()
    if not file.is_file() or file.suffix not in (".npy", ".npz"):
        raise InputError(f"{key}={path} is no .npy or .npz file")
    try:
        with file.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else _member(content, f"{key}={path}", member)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file brings up
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{key}={path} cannot be read: {said}") from None


def _member(archive: Mapping[str, Any], source: str, member: str) -> NDArray[Any]:
    name = member if member in archive else next(iter(archive)) if len(archive) == 1 else None
    if name is None:
        raise InputError(f"{source} must hold an array `{member}`; its arrays: {', '.join(archive) or 'none'}")
    value = archive[name]
    if not isinstance(value, np.ndarray):  # of what is no array in an archive NumPy gives the bytes
        raise ValueError("it holds no array")
    return value
