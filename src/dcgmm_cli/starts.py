"""What has started the processes of a training, and the run that it had started before."""

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from dcgmm.distributed import Processes
from dcgmm.errors import InputError
from dcgmm.files import read_json
from dcgmm_cli.runs import META, is_finished

STARTED_BY = "started_by"  # key of `meta.json`
_NEWEST = 20  # runs among which that of an earlier start is looked for


def starters(processes: Processes) -> list[str]:
    """Those that have started the processes, one on each machine: when one starts them again it is still the same."""
    return sorted(set(processes.gathered(_parent())))


def _parent() -> str:
    """The process that has started this one: machine, number, and when it began, since numbers are given again."""
    parent = os.getppid()
    began = ""
    with contextlib.suppress(OSError, IndexError):
        began = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{socket.gethostname()}:{parent}:{began}"


def begun(runs_dir: str, by: Sequence[str]) -> Path | None:
    """The run that these have started before, and that was not finished."""
    found = sorted(Path(runs_dir).glob(f"*/*/{META}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[:_NEWEST]:
        with contextlib.suppress(InputError):  # damaged: of another run
            known = read_json(path).get(STARTED_BY)
            if isinstance(known, list) and not set(known).isdisjoint(by):
                return None if is_finished(path.parent) else path.parent.resolve()
    return None
