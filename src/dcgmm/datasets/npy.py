"""Headers of NumPy's array files, read so that nothing in them is believed."""

import math
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from dcgmm.datasets.files import UNREADABLE
from dcgmm.datasets.names import printable
from dcgmm.errors import InputError


class Header(NamedTuple):
    """What an array file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int  # bytes before the array

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], path: Path, size: int) -> Header:
    """Read an array file up to its array.

    Args:
        file: at its beginning.
        path: of it, for messages.
        size: bytes of it.

    Raises:
        InputError: it is none, or cut off, or holds Python's objects, or values in an order that is not read.
        OSError, EOFError, zlib.error, BadZipFile: it cannot be read.
    """
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if min(shape, default=0) < 0:
            raise ValueError(f"a shape of {shape}")
    except UNREADABLE:
        raise
    except Exception as error:  # what NumPy raises of a damaged header: a tokenizer's errors, too
        reason = str(error).partition("\n")[0]
        raise InputError(f"{printable(str(path))} is no readable array file: {reason}") from None
    if dtype.hasobject:
        raise InputError(f"{printable(str(path))} holds Python objects, which are not read; save numbers")
    if fortran and len(shape) > 1:
        raise InputError(
            f"{printable(str(path))} holds its array in Fortran order; save numpy.ascontiguousarray(array)"
        )
    header = Header(shape, dtype, file.tell())
    if header.size > size:
        raise InputError(f"{printable(str(path))} is cut off: it has {size:,} bytes of {header.size:,}")
    return header
