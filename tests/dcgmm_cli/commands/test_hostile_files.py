"""Every file that nobody should have to read, through every command that takes such: a line that names it, or a result.

A few of some thousand cases; all of them in `make stress`.
"""

import contextlib
import random
import shutil
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest

from dcgmm.checkpoints import load_run
from dcgmm.datasets.names import printable
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT, DETECTOR
from tests.dcgmm_cli.commands.conftest import QUICK, Outcome, Runner
from tests.generated import STRESS
from tests.stress.hostile import ARRAYS, CHECKPOINTS, FLOATS, IMAGES, TEXTS, YAMLS, Maker, make
from tests.stress.whole import check_all_whole, check_whole

SECONDS = 60  # that a command may take, on a machine that does other work too
FEW = 12  # cases in `make test`
DRAWN = ["sampling.count=4", "quality.count=0"]
PART = ["inpaint", "run={run}", "peers=false", "judge=false", "completion.count=1"]
BAYES = ["classify", "run={run}", "methods=[generative]", "missing=[]", "shown=0"]
TRAINED = ["train", QUICK[0], "trainer.steps=3", "trainer.batch_size=1"]

# Where a command takes a file ({}), the folder that it is in ({folder}), a run ({run}) or good images ({good}).
OF_FILES: dict[str, list[str]] = {
    "outliers": ["outliers", "run={run}", "outliers.maps=true", "outliers.count=1", "input={}"],
    "known outliers": ["outliers", "run={run}", "outliers.count=0", "outliers.path={}"],
    "outliers seen in part": ["outliers", "run={run}", "outliers.count=0", "input={good}", "mask={}"],
    "classify": [*BAYES, "input={}"],
    "classify what is seen in part": [*BAYES, "input={good}", "mask={}"],
    "sharpen": ["sharpen", "run={run}", *DRAWN, "input={}"],
    "inpaint": [*PART, "input={}"],
    "inpaint what is missing": [*PART, "images=4", "mask={}"],
    "like": ["sample", "run={run}", "sampling.count=200", "quality.count=0", "like={}"],
    "control": ["sample", "run={run}", *DRAWN, "control={}"],
    "train on a folder": [*TRAINED, "dataset=folder", "dataset.path={folder}"],
    "train on arrays": [*TRAINED, "dataset=arrays", "dataset.path={}"],
}
OF_ARRAYS: dict[str, list[str]] = {
    "outliers, NaN is missing": ["outliers", "run={run}", "outliers.count=0", "mask=nan", "input={}"],
    "classify, NaN is missing": [*BAYES, "mask=nan", "input={}"],
    "inpaint, NaN is missing": [*PART, "mask=nan", "input={}"],
}
# Commands on a run of which a file is another ({run}), beside a good one ({other}).
ON_RUNS: dict[str, list[str]] = {
    "resume": ["train", "run={run}", "trainer.epochs=3"],
    "outliers of a run": ["outliers", "run={run}", "outliers.count=0"],
    "voters": ["outliers", "run={other}", "outliers.count=0", "input={good}", "outliers.voters=[{run}]"],
    "sample": ["sample", "run={run}", *DRAWN],
    "flat": ["sample", "run={other}", "sampling.count=4", "quality.count=9", "quality.flat={run}"],
    "sharpen draws": ["sharpen", "run={run}", *DRAWN],
    "inpaint test images": [*PART, "images=4"],
    "visualize": ["visualize", "run={run}", "images=10"],
    "cluster": ["cluster", "run={run}", "cluster.count=20"],
    "classify test images": [*BAYES, "images=20"],
    "export": ["export", "run={run}", "format=npz"],
    "show": ["show", "run={run}"],
    "show as a page": ["show", "run={run}", "format=html"],
    "compare": ["compare", "run={run}", "run={other}"],
    "compare as a page": ["compare", "run={run}", "run={other}", "format=html"],
    "results": ["results", "{runs}", "command=all", "format=json", "columns=all"],
    "results by group": ["results", "{runs}", "group=seed", "format=csv"],
}
OF_ONES_OWN: dict[str, list[str]] = {
    f"{command} with files of one's own": [command, "--config-dir", "{mine}", "+study=x"]
    for command in ("sample", "results", "show", "data")
}
RECORDS = ("meta.json", "result.json", "metrics.jsonl", "loggers.json")
STATES = {"model": CHECKPOINT, "detector": DETECTOR}


class Case(NamedTuple):
    """A command, what is hostile to it, and its name."""

    command: str
    kind: str  # image, array, model, detector, yaml, or the file of a record
    name: str


def _cases() -> list[Case]:
    pairs: list[tuple[Mapping[str, Any], str, Mapping[str, Any]]] = [
        (OF_FILES, "image", IMAGES),
        ({**OF_FILES, **OF_ARRAYS}, "array", ARRAYS),
        (OF_ONES_OWN, "yaml", YAMLS),
        *((ON_RUNS, kind, CHECKPOINTS) for kind in STATES),
        *((ON_RUNS, kind, TEXTS) for kind in RECORDS),
    ]
    return [Case(command, kind, name) for commands, kind, names in pairs for command in commands for name in names]


WORDS = {**OF_FILES, **OF_ARRAYS, **ON_RUNS, **OF_ONES_OWN}
CASES = _cases()


def _chosen() -> dict[str, list[Case]]:
    """By command all of them where STRESS is 50 or more, else a share; a few in `make test`."""
    picked = random.Random("hostile").sample(CASES, max(FEW, len(CASES) * min(STRESS, 50) // 50))
    return {command: found for command in WORDS if (found := [case for case in picked if case.command == command])}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An array of good images."""
    path = tmp_path_factory.mktemp("good") / "good.npy"
    np.save(path, FLOATS)
    return path


@pytest.mark.parametrize("cases", [pytest.param(cases, id=name) for name, cases in _chosen().items()])
def test_a_hostile_file_is_read_or_named(
    cases: list[Case], dcgmm: Runner, tiny_run: Path, good: Path, tmp_path: Path
) -> None:
    failures = []
    for number, case in enumerate(cases):
        home = tmp_path / str(number)
        try:
            _try(case, dcgmm, tiny_run, good, home)
        except AssertionError as error:
            failures.append(f"{case}: {str(error)[:1500]}")
        shutil.rmtree(home)
    assert not failures, "\n\n".join([f"{len(failures)} of {len(cases)}", *failures])
    assert not list(tmp_path.rglob("pwned"))


def _try(case: Case, dcgmm: Runner, tiny_run: Path, good: Path, home: Path) -> None:
    run = _copied(tiny_run, home / "runs" / "run")
    hostile = _made(case, run, home)
    places = {"run": run, "other": tiny_run, "runs": run.parent, "good": good, "mine": home / "mine"}
    given = {key: quoted(path) for key, path in {**places, "folder": hostile.parent}.items()}
    words = [
        word if "{" not in word or "type:" in word else word.format(quoted(hostile), **given)
        for word in WORDS[case.command]
    ]
    is_refused = case.kind == "model" and words[0] not in ("show", "compare", "results") and not _is_readable(run)
    with time_limit():
        outcome = dcgmm(*words)
    assert not is_refused or outcome.code == 2, outcome
    of_a_file = "{}" in "".join(WORDS[case.command])
    _check(outcome, case.name if of_a_file else str(home), words)
    _check_written(outcome, run)


def _copied(run: Path, to: Path) -> Path:
    shutil.copytree(
        run, to, ignore=lambda folder, names: [name for name in names if (Path(folder) / name / name).is_dir()]
    )
    return to


def _made(case: Case, run: Path, home: Path) -> Path:
    """Put the hostile file where it belongs."""
    if case.kind in ("image", "array"):
        makers: Mapping[str, Maker] = IMAGES if case.kind == "image" else ARRAYS
        return make({case.name: makers[case.name]}, home / "new")[case.name]
    if case.kind in STATES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is out of use is told of
            CHECKPOINTS[case.name](run / STATES[case.kind])
        return run / STATES[case.kind]
    path = home / "mine" / "study" / "x.yaml" if case.kind == "yaml" else run / case.kind
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((YAMLS if case.kind == "yaml" else TEXTS)[case.name])
    return path


def _is_readable(run: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_run(run)
    except InputError:
        return False
    return True


def _check(outcome: Outcome, name: str, words: list[str]) -> None:
    assert outcome.code in (0, 2), (outcome.code, outcome.err)
    assert "Traceback" not in outcome.err, outcome.err
    if outcome.code == 2:
        lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, outcome.err
        keys = [word.partition("=")[0] for word in words]
        assert any(part in lines[0] for part in (name, printable(name), *keys, "layer ")), lines[0]


def _check_written(outcome: Outcome, run: Path) -> None:
    written = Path(outcome.out.splitlines()[-1]) if outcome.code == 0 and outcome.out.strip() else run
    if run in written.parents:
        check_all_whole(written)
    elif written.is_file():
        check_whole(written)


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """No command waits for ever: for a pipe's writer, or at a device's end."""
    began = time.monotonic()

    def late(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still at work after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    # The command may have taken the error for a file's that cannot be read.
    assert time.monotonic() - began < SECONDS, f"still at work after {SECONDS} s"


def quoted(path: Path) -> str:
    """A path as Hydra takes it."""
    escaped = str(path).replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"
