"""Stopping a command at a random moment, and what must hold of its end and of what it leaves."""

import contextlib
import random
import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm_cli.commands import results, show
from dcgmm_cli.runs import META
from dcgmm_cli.schema_in_place import Prune, ResultsConfig, ShowConfig
from tests.stress.whole import check_all_whole
from tests.stress.zygote import Ended, Zygote

KILL = [(signal.SIGKILL,)]
SIGNALS = [(one,) for one in (signal.SIGINT, signal.SIGTERM)] + [
    (one, other) for one in (signal.SIGINT, signal.SIGTERM) for other in (signal.SIGINT, signal.SIGTERM)
]
BOTH = pytest.mark.parametrize("how", ["killed", "told"])


@dataclass
class Stopping:
    """One command line, stopped at a random moment again and again.

    Args:
        zygote: what starts it.
        seed: of moments and signals.
        signals: what it is sent: one signal, or two, the second within a third of a second.
    """

    zygote: Zygote
    seed: str
    signals: Sequence[tuple[int, ...]]
    took: float = field(default=0.0, init=False)
    failures: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """One try of several: what goes wrong in it is told when all have been made."""
        try:
            yield
        except AssertionError as error:
            self.failures.append(str(error))

    def whole(self, arguments: list[str], cwd: Path) -> Ended:
        """The command as it is when nothing stops it; its time is the range of moments."""
        cwd.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        ended = self.zygote.run(arguments, cwd)
        self.took = time.monotonic() - started
        assert ended.code == 0, ended.err
        return ended

    def stopped(self, arguments: list[str], cwd: Path) -> Ended:
        """The command, stopped, with what must hold of its end."""
        cwd.mkdir(parents=True, exist_ok=True)
        sent = self.random.choice(self.signals)
        group = self.random.random() < 0.5  # as a terminal, or the machine's end, stops all of its processes
        started = self.zygote.start(arguments, cwd)
        time.sleep(self.random.uniform(0, 1.1 * self.took))
        for number, signum in enumerate(sent):
            if number:
                time.sleep(self.random.uniform(0, 0.3))
            started.send(signum, group=group)
        ended = started.wait()
        started.wait_for_group()
        if signal.SIGKILL in sent:
            assert ended.code in (0, -signal.SIGKILL), ended.err
        else:
            assert ended.code in {0, *(128 + signum for signum in sent)}, (sent, ended)
            assert "Traceback" not in ended.err, ended.err
            assert ended.code == 0 or "interrupted" in ended.err, ended.err
            assert "internal error" not in ended.err
        return ended


def only(zygote: Zygote, arguments: list[str], cwd: Path, *codes: int) -> Ended:
    """A command that must end with one of some codes, and say one line where it is not 0."""
    ended = zygote.run(arguments, cwd)
    assert ended.code in codes, (arguments, ended)
    assert "Traceback" not in ended.err, ended.err
    assert ended.code == 0 or len(re.findall("^error: ", ended.err, re.MULTILINE)) == 1, ended.err
    return ended


def check_left(runs: Path, directories: Iterable[Path]) -> None:
    """What a stopped command left is whole, and `results` and `show` tell of it."""
    check_all_whole(runs)
    if runs.is_dir():
        with contextlib.suppress(InputError):  # there is no run yet
            results.run_in_place(ResultsConfig(paths=[str(runs)], where=["command=all"]))
        results.run_in_place(ResultsConfig(paths=[str(runs)], prune=Prune.show))
    for directory in directories:
        if (directory / META).exists():
            show.run_in_place(ShowConfig(run=str(directory)))
