import math
import os
from pathlib import Path
from typing import IO, Any

import pytest

from dcgmm.errors import InputError
from dcgmm.files import read_json, write_json, write_text, write_whole


def message(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def torn(file: IO[bytes]) -> None:
    file.write(b"half a f")
    raise RuntimeError("power cut")


def interrupted(file: IO[bytes]) -> None:
    file.write(b"half a f")
    raise KeyboardInterrupt


def test_a_file_appears_whole_in_a_directory_that_is_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, lambda file: file.write(b"new"))
    write_whole(path, lambda file: file.write(b"newer"))
    assert path.read_bytes() == b"newer"
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it, as any file that is simply opened


@pytest.mark.parametrize("write", [torn, interrupted])
def test_an_unfinished_write_leaves_the_old_file_and_no_litter(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        write_whole(path, write)
    assert os.listdir(tmp_path) == []
    path.write_bytes(b"old")
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        write_whole(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = []

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        file.flush()
        seen.append(path.exists())

    write_whole(path, write)
    assert seen == [False]


def test_an_unwritable_directory_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError) as error:
        write_whole(tmp_path / "taken" / "file", lambda file: file.write(b"x"))
    assert message(error).startswith(f"cannot write {tmp_path / 'taken' / 'file'}: ")


def test_json_there_and_back(tmp_path: Path) -> None:
    content = {"a": 1, "b": [1.5, None, "ü"], "c": {"d": True}}
    write_json(tmp_path / "file", content)
    assert read_json(tmp_path / "file") == content
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "file", {"a": bad})
    assert read_json(tmp_path / "file") == content


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1]", "3", "ÿ"])
def test_a_damaged_json_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as error:
        read_json(path)
    assert message(error).startswith(f"{path} is damaged: ")


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "file")
    assert message(error) == f"cannot read {tmp_path / 'file'}: No such file or directory"


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "ü\n")
    assert (tmp_path / "file").read_bytes() == "ü\n".encode()
