import errno
import os
import shutil
from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm.files import write_json
from dcgmm_cli.leftovers import find_leftovers, is_leftover, remove_leftover
from dcgmm_cli.records import LOCK, alone
from tests.refusals import refused


def started(directory: Path, *more: str) -> Path:
    """A directory as a start leaves it that fails."""
    for name in (".hydra/config.yaml", "train.log", LOCK, *more):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()
    write_json(directory / "result.json", {"command": "train", "status": "failed"})
    return directory


@pytest.mark.parametrize("name", ["checkpoints/last.pt", "metrics.jsonl", "figures/a.png", "mine.txt", "a/result.json"])
def test_whatever_was_made_is_kept(name: str, tmp_path: Path) -> None:
    assert is_leftover(started(tmp_path / "a", "checkpoints/.last.pt.1.tmp"))
    assert not is_leftover(started(tmp_path / "b", name))
    assert not remove_leftover(tmp_path / "b")
    assert (tmp_path / "b" / name).exists()


def test_starts_that_failed_are_found_and_removed(tmp_path: Path) -> None:
    failed = started(tmp_path / "runs" / "1L-mnist" / "failed")
    trained = started(tmp_path / "runs" / "1L-mnist" / "trained", "checkpoints/last.pt")
    follow_up = started(trained / "sample" / "failed")
    young = tmp_path / "runs" / "1L-mnist" / "young"
    (young / ".hydra").mkdir(parents=True)
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(failed)
    assert sorted(find_leftovers([str(tmp_path / "runs")])) == [failed, follow_up]
    os.utime(young, (0, 0))
    assert sorted(find_leftovers([str(tmp_path / "runs")])) == [failed, follow_up, young]
    with alone(failed):
        assert failed not in find_leftovers([str(tmp_path / "runs")])
        with refused(failed, "process"):
            remove_leftover(failed)
    assert all(map(remove_leftover, (failed, follow_up, young)))
    assert not list(find_leftovers([str(tmp_path / "runs")]))
    assert trained.is_dir()
    with refused(failed, "directories"):
        list(find_leftovers([str(failed)]))


def test_what_is_gone_or_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = started(tmp_path / "failed")
    assert not remove_leftover(tmp_path / "gone")

    def refuse(directory: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(directory))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(InputError, match=f"{failed} cannot be removed: Read-only file system"):
        remove_leftover(failed)
