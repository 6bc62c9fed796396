"""Arrays in files as tensors over memory maps: what is looked at is read, what the system needs back it takes."""

import math
import mmap
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

# Of a map that this process may change for itself the system need not set aside memory for all of it.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def mapped(path: Path, shape: tuple[int, ...], start: int = 0, dtype: DTypeLike = np.uint8) -> Tensor:
    """An array that lies in a file, row by row; what is written to the tensor stays in this process.

    Args:
        path: of the file.
        shape: of the array.
        start: bytes before it.
        dtype: of its values.

    Raises:
        OSError: the file cannot be mapped.
    """
    kind = torch.from_numpy(np.empty(0, dtype)).dtype
    count = math.prod(shape)
    if not count:
        return torch.empty(shape, dtype=kind)
    with path.open("rb") as file:
        size = start + count * kind.itemsize
        if sys.platform == "linux":
            flags, access = mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            pages = mmap.mmap(file.fileno(), size, flags, access)
        else:
            pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    return torch.frombuffer(pages, dtype=kind, count=count, offset=start).view(shape)
