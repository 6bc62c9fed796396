"""Running commands: in this process (quick), or as users do, through the installed entry point."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dcgmm_cli import main
from tests.refusals import check_names, unnamed

# A small net on the bundled sample: quick, yet with every kind of layer.
TINY = (
    "arch.layers=[{type:folding,kernel:[7,7],stride:[7,7]},{type:gmm,components:4},"
    "{type:pooling,kernel:[2,2]},{type:folding,kernel:[2,2]},{type:gmm,components:4}]"
)
QUICK = [TINY, "dataset=mnist_sample", "dataset.limit=300", "trainer.epochs=2", "trainer.annealing.alpha=0.5"]


@dataclass
class Outcome:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def directory(self) -> Path:
        """The directory that the command names in its last line."""
        return Path(self.out.splitlines()[-1])

    @property
    def error(self) -> str:
        """The one line that tells of a user's mistake, with the number of a sweep's job before it."""
        assert self.code == 2, self.err
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if re.match(r"(#\d+ )?error: ", line)]
        return line

    def check_refused(self, *named: object, alone: bool = True) -> None:
        """Check that it was refused in one line that names these values, and (`alone`) that nothing else was said."""
        check_names(self.error, *named)
        assert not alone or self.err == f"{self.error}\n"

    def check_told(self, *named: object) -> None:
        """Check that it came to its end, and that one line of what it said meanwhile names these values."""
        assert self.code == 0, self.err
        assert any(not unnamed(line, *named) for line in self.err.splitlines()), (named, self.err)


Runner = Callable[..., Outcome]


@pytest.fixture
def dcgmm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Runner:
    """Run a command line in this process, in a temporary directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dcgmm"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = main.run(arguments)
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def installed(tmp_path: Path) -> Runner:
    """Run a command line through the installed entry point, in a temporary directory.

    Keywords change its environment; None takes a variable out of it.
    """

    def run(*arguments: str, **environment: str | None) -> Outcome:
        entry = Path(sys.executable).parent / "dcgmm"
        done = subprocess.run(
            [str(entry), *arguments],
            cwd=tmp_path,
            env={name: value for name, value in {**os.environ, **environment}.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=240,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that all tests of a process share: follow-up commands write under it, each in its own directory."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dcgmm"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        assert main.run(["train", *QUICK, f"runs_dir={runs}"]) == 0
    return (runs / "latest").resolve()
