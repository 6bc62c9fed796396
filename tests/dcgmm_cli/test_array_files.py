import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcgmm.errors import InputError
from dcgmm_cli.array_files import read_array

ARRAY = np.arange(6.0).reshape(2, 3)


def stored(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def headed(text: str, version: bytes = b"\x01\x00") -> bytes:
    """A file that says what it is given, and holds nothing."""
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode()


def test_arrays_come_back(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    np.savez(tmp_path / "one.npz", any=ARRAY)
    np.savez(tmp_path / "two.npz", wanted=ARRAY, other=ARRAY + 1)
    for name in ("a.npy", "one.npz", "two.npz"):
        assert np.array_equal(read_array("key", str(tmp_path / name), "wanted"), ARRAY)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", b""),
        ("a.npy", stored(ARRAY)[:-1]),
        ("a.npy", headed("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,), }\n")),
        ("a.npy", headed("(" * 5000 + "\n")),
        ("a.npy", headed(" " * 300_000 + "\n", b"\x02\x00")),
        ("a.npz", b"PK"),
        ("a.txt", stored(ARRAY)),
    ],
)
def test_what_is_no_array_gets_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_array("key", str(path), "wanted")
    assert str(error.value).startswith(f"key={path} ")
    assert "\n" not in str(error.value)


def test_an_archive_without_such_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=ARRAY, b=ARRAY)
    np.savez(tmp_path / "none.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("wanted.npy", "text")
    for name, said in (("two", "its arrays: a, b"), ("none", "its arrays: none"), ("text", "it holds no array")):
        with pytest.raises(InputError, match=said):
            read_array("key", str(tmp_path / f"{name}.npz"), "wanted")
