"""The idx format of MNIST: two zero bytes, type, number of dimensions, sizes (big-endian, 32 bits each), values."""

import struct

import numpy as np
from numpy.typing import NDArray

_UINT8 = 0x08


def decode(content: bytearray) -> NDArray[np.uint8]:
    """Array of an idx file's content, without a copy.

    Raises:
        ValueError: the content is no idx file of unsigned bytes, or too short or too long for the sizes in its header.
    """
    if len(content) < 4 or content[:3] != bytes((0, 0, _UINT8)):
        begin = content[:3].hex(" ") or "nothing"
        raise ValueError(f"no idx file of unsigned bytes, which begins with 00 00 08, not {begin}")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"cut off inside its header: {len(content)} bytes of {start}")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    expected = int(np.prod(shape, dtype=np.int64))
    if values.size != expected:
        raise ValueError(f"{values.size:,} bytes of data where its header announces {expected:,}")
    return values.reshape(shape)


def encode(array: NDArray[np.uint8]) -> bytes:
    """Content of an idx file that holds an array."""
    header = struct.pack(f">3B B {array.ndim}I".replace(" ", ""), 0, 0, _UINT8, array.ndim, *array.shape)
    return header + array.tobytes()
