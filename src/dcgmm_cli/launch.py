"""`dcgmm train` on several processes, as torchrun starts them: one run directory, which the first of them writes.

All do the same on their part of the images. The others are silent and keep a log of their own in the run directory;
what ends one of them is told by the first. Where torchrun starts them again, after a failure or in another number, they
go on with the run that they had begun.
"""

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import NamedTuple

from dcgmm import __version__
from dcgmm.distributed import are_started, joined
from dcgmm.errors import InputError, LostProcessError
from dcgmm_cli.hydra_glue import name_runs, quoted, runs_dir_of
from dcgmm_cli.interruption import leaving_at_once
from dcgmm_cli.job import rank
from dcgmm_cli.runs import unique_name
from dcgmm_cli.starts import begun, starters


class Start(NamedTuple):
    """What the first process has found out for all."""

    asked: Namespace  # of Hydra
    name: str  # of a new run


@contextlib.contextmanager
def launched(command: str, words: Sequence[str], prepare: Callable[[], Namespace]) -> Iterator[Namespace]:
    """What a command line asks of Hydra, within it together with the processes that were started with this one.

    Args:
        command: that is run.
        words: behind it.
        prepare: reads them.

    Raises:
        InputError: `prepare` does, it is no training, or the processes were given different command lines.
    """
    if not (are_started() or "TORCHELASTIC_RUN_ID" in os.environ):
        yield prepare()
        return
    if command != "train" or not {"-m", "--multirun"}.isdisjoint(words):
        what = "a sweep" if command == "train" else f"dcgmm {command}"
        _silence(unless=not rank())
        raise InputError(f"{what} runs in one process: leave out torchrun, which is for a single `dcgmm train`")
    with contextlib.ExitStack() as stack:
        with leaving_at_once():
            processes = stack.enter_context(joined())
        _silence(unless=processes.is_first)
        try:
            versions = {"version of dcgmm": __version__, "version of PyTorch": version("torch")}
            processes.require_same({"command line": list(words), **versions})
            by = starters(processes)
            start = processes.from_first(lambda: _start(prepare(), by))
            name_runs(start.name)
            if not processes.is_first:
                log = f"train-rank{processes.rank}.log"
                start.asked.overrides += [
                    "hydra.output_subdir=null",
                    f"hydra.job_logging.handlers.file.filename=${{hydra.runtime.output_dir}}/{log}",
                ]
            yield start.asked
        except LostProcessError:
            raise
        except BaseException as error:
            processes.tell_end(" ".join(f"{type(error).__name__}: {error}".split()))
            raise


def _silence(*, unless: bool) -> None:
    """Print nothing: what others print is the same, or stands in their logs."""
    if not unless:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the process ends


def _start(asked: Namespace, by: Sequence[str]) -> Start:
    given = dict(word.split("=", 1) for word in asked.overrides if "=" in word)
    if not {"run", "hydra.run.dir"} & given.keys() and (before := begun(runs_dir_of(given), by)):
        asked.overrides += [f"hydra.run.dir={quoted(str(before))}", "hydra.output_subdir=null"]
    return Start(asked, unique_name())
