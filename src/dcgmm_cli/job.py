"""What a command is told beside its configuration."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcgmm_cli.interruption import Interruption

COMMAND_LINE = "DCGMM_COMMAND_LINE"  # environment variable of this process and of those that run a sweep's jobs


@dataclass(frozen=True)
class Job:
    """One command at work in its directory."""

    command: str
    directory: Path
    overrides: list[str]  # of its configuration, as key=value
    interruption: Interruption
    result: dict[str, Any] = field(default_factory=dict)  # becomes result.json


def rank() -> int | None:
    """Number of this process among those that were started to train one model together; None where it is alone."""
    number = os.environ.get("RANK", "0")
    return int(number) if "WORLD_SIZE" in os.environ and number.isdecimal() else None


def remember_command_line(words: list[str]) -> None:
    """Keep what was typed for the jobs that it starts, here and in other processes."""
    os.environ[COMMAND_LINE] = json.dumps(words)


def command_line() -> list[str]:
    """What was typed to start this."""
    given = os.environ.get(COMMAND_LINE)
    return list(json.loads(given)) if given else sys.argv
