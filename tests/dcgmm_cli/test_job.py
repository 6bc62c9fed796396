"""Which process this is, of those that train one model together."""

import pytest

from dcgmm_cli.job import rank


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, None), ({"WORLD_SIZE": "2", "RANK": "1"}, 1), ({"WORLD_SIZE": "2"}, 0), ({"RANK": "1"}, None)],
)
def test_the_environment_says_which_process_this_is(
    environment: dict[str, str], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rank() == expected


def test_what_is_no_number_is_of_nobody_who_starts_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "x")
    monkeypatch.setenv("RANK", "y")
    assert rank() is None
