import struct

import numpy as np
import pytest

from dcgmm.datasets.idx import decode, encode
from tests.refusals import refused


@pytest.mark.parametrize("shape", [(3,), (2, 5, 4), (0, 28, 28)])
def test_decode_inverts_encode(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    decoded = decode(bytearray(encode(array)))
    assert decoded.shape == shape
    np.testing.assert_array_equal(decoded, array)


def test_header_is_that_of_the_format() -> None:
    # MNIST's own test labels start like this: magic number 2049, then the count, both big-endian.
    assert encode(np.array([7, 2], np.uint8)) == struct.pack(">II", 2049, 2) + bytes((7, 2))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "08 nothing"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "08 0d"),  # floats
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", "8 16"),
        (struct.pack(">II", 2049, 5) + bytes(4), "4 5"),
        (struct.pack(">II", 2049, 5) + bytes(6), "6 5"),
    ],
)
def test_what_is_no_idx_file_is_refused(content: bytes, named: str) -> None:
    with refused(*named.split(), kind=ValueError):
        decode(bytearray(content))
