"""What the campaigns share: a process that commands are forked from, and how large they are."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.dcgmm_cli.commands.conftest import QUICK
from tests.generated import STRESS
from tests.stress.stopping import KILL, SIGNALS, Stopping
from tests.stress.zygote import Zygote

T = TypeVar("T")
# Epochs enough that a signal finds it at its steps.
TRAINING = [*QUICK, "trainer.batch_size=20", "trainer.epochs=12"]


def times(count: int) -> int:
    """How often something is tried: once, and so many times as often in `make stress`, whose STRESS is 50."""
    return max(1, count * STRESS // 50)


def moments(how: str, count: int) -> range:
    """So many kills in `make stress`, and a quarter as many signals that can be handled."""
    return range(times(count if how == "killed" else max(1, count // 4)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it is slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Commands in processes of their own."""
    with Zygote(tmp_path_factory.mktemp("printed")) as found:
        yield found


def share(items: Iterable[T], seed: str) -> list[T]:
    """All of them in `make stress`, else a few."""
    every = list(items)
    return every if STRESS else random.Random(seed).sample(every, 3)


@pytest.fixture
def stopping(zygote: Zygote, how: str, request: pytest.FixtureRequest) -> Iterator[Stopping]:
    found = Stopping(zygote, request.node.name, KILL if how == "killed" else SIGNALS)
    yield found
    assert not found.failures, "\n\n".join(found.failures)
