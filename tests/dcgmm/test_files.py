import math
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch

from dcgmm.errors import InputError
from dcgmm.files import TEMPORARY, read_json, sweep_temporary, temporary_for, write_json, write_text, write_whole


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


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_others_may_read_it_as_any_file_that_is_simply_opened(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", lambda file: file.write(b"x"))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    (tmp_path / "file").chmod(0o640)
    write_whole(tmp_path / "file", lambda file: file.write(b"x"))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_of_a_link_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "a" / "target", tmp_path / "link"
    for text in ("new", "newer"):  # the target is made, too
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text


def test_what_is_no_regular_file_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name, said in (("pipe", "no regular file"), ("link", "no regular file"), ("folder", "a directory")):
        with pytest.raises(InputError) as error:
            write_text(tmp_path / name, "x")
        assert message(error) == f"cannot write {tmp_path / name}: it is {said}"
        with pytest.raises(InputError) as error:
            read_json(tmp_path / name)
        assert message(error) == f"cannot read {tmp_path / name}: it is {said}"
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "pipe"]


@pytest.fixture
def little_room() -> Iterator[int]:
    """No file can grow beyond so many bytes: what a full disk does, too."""
    before, size = resource.getrlimit(resource.RLIMIT_FSIZE), 10_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_space_left_is_told_and_leaves_the_old_file(tmp_path: Path, little_room: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    writes: list[Callable[[IO[bytes]], Any]] = [
        lambda file: file.write(b"x" * 2 * little_room),
        lambda file: torch.save({"a": torch.zeros(little_room)}, file),
        lambda file: np.savez(file, a=np.zeros(little_room)),
    ]
    for write in writes:
        with pytest.raises(InputError) as error:
            write_whole(path, write)
        assert message(error) == f"cannot write {path}: File too large"
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    left: list[Path] = []

    def write(file: IO[bytes]) -> None:
        left.append(Path(file.name))
        shutil.copy(left[0], tmp_path / f".copy{TEMPORARY}")

    write_whole(tmp_path / "file", write)
    assert left[0].suffix == TEMPORARY
    sweep_temporary(tmp_path, older=1000)
    assert sorted(os.listdir(tmp_path)) == [f".copy{TEMPORARY}", "file"]
    (tmp_path / f".download-x{TEMPORARY}" / "raw").mkdir(parents=True)
    sweep_temporary(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_of_a_file_is_swept_when_it_is_written_again(tmp_path: Path) -> None:
    target = tmp_path / f"{'x' * 120}[1]"
    left, young, of_another = temporary_for(target), temporary_for(target), temporary_for(tmp_path / "y")
    for path in (left, young, of_another):
        path.touch()
    for path in (left, of_another):
        os.utime(path, (0, 0))
    write_text(target, "text")
    assert sorted(tmp_path.iterdir()) == sorted([target, young, of_another])  # another process may be at it


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 250), "text")
    assert (tmp_path / ("x" * 250)).read_text() == "text"


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


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1]", "3", "ÿ", "[" * 100_000, "9" * 5000])
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
