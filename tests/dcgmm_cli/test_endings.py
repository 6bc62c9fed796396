"""How a command line ends that does not come to its own end."""

import errno

import pytest
from hydra.errors import HydraException

from dcgmm.errors import InputError, LostProcessError
from dcgmm_cli.endings import ending
from dcgmm_cli.interruption import Interrupted
from dcgmm_cli.studies import NO_TRIAL


class OfTheStudyError(Exception):
    """As SQLAlchemy raises it, around what the database said."""

    __module__ = "sqlalchemy.exc"

    def __init__(self, orig: str) -> None:
        super().__init__("(Background on this error at: ...)")
        self.orig = orig


@pytest.mark.parametrize(
    ("error", "code", "names"),
    [
        (InputError("no\nsuch  run"), 2, "no such run"),
        (HydraException("no such\nflag"), 2, "no such"),
        (OverflowError("cannot convert float infinity to integer"), 2, "infinity"),
        (ValueError("Exceeds the limit (4300 digits) for integer string conversion"), 2, "digits"),
        (FileNotFoundError(errno.ENOENT, "No such file", "runs/x"), 2, "runs/x"),
        (OSError(errno.ENOSPC, "No space left on device", "full"), 2, "full"),
        (OfTheStudyError("file is not a database\nin all"), 2, "file is not a database"),
        (LostProcessError("process 1 has ended"), 1, "process 1"),
        (KeyError("layers"), 1, "internal error: KeyError: 'layers'"),
        (OSError(errno.EBADF, "Bad file descriptor"), 1, "internal error: OSError"),
        (Interrupted(15), 143, "train: interrupted"),
        (KeyboardInterrupt(), 130, "train: interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_exit_code_and_one_line(error: Exception | KeyboardInterrupt, code: int, names: str) -> None:
    found = ending(error, "train")
    assert found is not None
    assert found[0] == code
    assert names in found[1]
    assert len(found[1].splitlines()) == 1


@pytest.mark.parametrize("said", NO_TRIAL)
def test_where_no_job_came_to_its_end_the_jobs_say_why(said: str) -> None:
    assert ending(ValueError(said), "train") is None
