import errno
from pathlib import Path

import pytest
import torch

from dcgmm.errors import InputError
from dcgmm_cli.faults import explained


def test_a_full_disk_is_told_with_its_file(tmp_path: Path) -> None:
    for number, said in ((errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")):
        with pytest.raises(InputError) as error, explained("train", tmp_path):
            raise OSError(number, said, "a/file")
        assert str(error.value) == f"a/file cannot be used: {said}"


def test_a_directory_that_was_removed_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), explained("train", tmp_path):
        (tmp_path / "gone").read_text()
    with pytest.raises(InputError) as error, explained("train", tmp_path / "gone"):
        (tmp_path / "gone" / "file").read_text()
    assert str(error.value).startswith(f"{tmp_path / 'gone'} is not there any more")


@pytest.mark.parametrize(("command", "key"), [("train", "trainer.batch_size"), ("outliers", "batch_size")])
def test_too_little_memory_is_told_with_what_to_lower(command: str, key: str, tmp_path: Path) -> None:
    def cannot_be() -> None:
        torch.empty(2**50)

    def neither() -> None:
        raise MemoryError("Unable to allocate 8 PiB")

    for fails in (cannot_be, neither):
        with pytest.raises(InputError) as error, explained(command, tmp_path):
            fails()
        assert str(error.value).startswith("not enough memory (")
        assert key in str(error.value)
        assert "\n" not in str(error.value)


def test_our_own_errors_stay_ours(tmp_path: Path) -> None:
    for ours in (RuntimeError("shapes"), OSError(errno.EBADF, "Bad file descriptor")):
        with pytest.raises(type(ours)) as error, explained("train", tmp_path):
            raise ours
        assert error.value is ours
