"""What ends a command line beside its own end: exit codes, and a line that says why."""

import os
import sys

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dcgmm.errors import InputError, LostProcessError
from dcgmm_cli.explain import explain
from dcgmm_cli.faults import storage_fault
from dcgmm_cli.leftovers import discard_unbegun
from dcgmm_cli.studies import NO_TRIAL, study_fault

PIPE = 13  # the signal of a closed pipe


def ending(error: Exception | KeyboardInterrupt, command: str) -> tuple[int, str] | None:
    """Exit code and line (may be empty) of an exception that ended a command; None where the jobs' own ones say all."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + int(getattr(error, "signum", 2)), f"dcgmm {command}: interrupted"
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + PIPE, ""
    if isinstance(error, LostProcessError):
        return 1, _line(str(error))
    if mistake := _mistake(error, command):
        return 2, _line(mistake)
    if str(error) in NO_TRIAL:  # the summary says of each job why it failed
        return None
    return 1, f"dcgmm {command}: internal error: {' '.join(f'{type(error).__name__}: {error}'.split())}"


def _mistake(error: Exception, command: str) -> str | None:
    """What the user, or the user's machine, has to mend; None where it is our fault."""
    if isinstance(error, InputError):
        return str(error)
    # Hydra reads a number as Python does.
    if isinstance(error, HydraException | OmegaConfBaseException | OverflowError) or "integer string" in str(error):
        return explain(error, command)
    # Hydra makes the output directory, and opens the log in it.
    if fault := error if isinstance(error, FileNotFoundError) else storage_fault(error):
        place = discard_unbegun()
        return f"cannot write {fault.filename or place or 'the run directory'}: {fault.strerror}"
    return study_fault(error)


def _line(message: str) -> str:
    return f"error: {' '.join(message.split())}"
