"""Whatever is typed, a command takes it or says in one line what is wrong."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcgmm_cli.job import Job
from dcgmm_cli.keys import keys
from dcgmm_cli.schema import SCHEMAS
from tests.dcgmm_cli.commands.conftest import QUICK, Runner
from tests.generated import VALUES, examples


def written(value: Any) -> str:
    """A value as it may be typed."""
    return json.dumps(value) if isinstance(value, list | dict | bool | None) else str(value)


@examples(4)
@given(data=st.data())
def test_every_command_line_runs_or_gets_one_line(
    dcgmm: Runner, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    given_to: list[Any] = []

    def run(config: Any, job: Job) -> None:
        given_to.append(config)

    monkeypatch.setattr("dcgmm_cli.commands.train.run", run)
    names = [key.name for key in keys(SCHEMAS["train"]) if not key.name.startswith("arch.") and key.name != "runs_dir"]
    chosen = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=2))
    words = [f"{key}={written(value)}".replace("\0", "") for key, value in chosen.items()]
    more = data.draw(st.sampled_from([[], ["+x=1"], ["~seed"], ["x"], ["--x"], ["-m"], ["trainer=3"], ["=1"]]))
    outcome = dcgmm("train", *QUICK, *words, *more)
    assert outcome.code in (0, 2), outcome.err
    assert "Traceback" not in outcome.err
    assert (outcome.code == 0) or "-m" in more or len(outcome.err.splitlines()) == 1, outcome.err
