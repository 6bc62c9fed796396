"""What is compared: runs, or sets of runs that differ in their seeds alone."""

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dcgmm.errors import InputError
from dcgmm_cli.reports.facts import figures, name_of
from dcgmm_cli.results.reading import TRAIN, Cell, Run, as_text, find_runs, read_run
from dcgmm_cli.results.selecting import INCIDENTAL
from dcgmm_cli.runs import find_models

MOST = 12  # sides that a table has room for


@dataclass(frozen=True)
class Side:
    """One column of a comparison."""

    letter: str
    runs: Sequence[Run]

    @property
    def name(self) -> str:
        """Its run, or the first one with the number of others."""
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return f"{name_of(self.runs[0].directory)}{more}"

    def setting(self, key: str) -> str:
        """Its runs' values of a setting, each once."""
        return ", ".join(dict.fromkeys(as_text(run.settings.get(key)) for run in self.runs))

    def values(self, column: str) -> list[float]:
        """Its runs' values of a figure."""
        return [figures(run)[column] for run in self.runs if column in figures(run)]

    @cached_property
    def follow_ups(self) -> dict[str, list[Run]]:
        """By command, of each run the newest follow-up that has finished."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            newest: dict[str, Run] = {}
            below = find_runs([str(run.directory)])
            for each in sorted(below, key=lambda each: each.directory.name):
                command = str(each.results["command"])
                if command != TRAIN and each.results["status"] == "finished" and each.directory != run.directory:
                    newest[command] = each
            for command, each in newest.items():
                found.setdefault(command, []).append(each)
        return found

    def done(self, command: str) -> "Side":
        """The same side of what was done with its models."""
        return Side(self.letter, self.follow_ups.get(command, []))


def sides_of(given: Sequence[str], runs_dir: str) -> list[Side]:
    """What `run=` was given as sides: a run by itself, of a directory of runs those that differ in the seed alone.

    Raises:
        InputError: there is no such run, or there are fewer than two sides, or too many.
    """
    groups: list[list[Run]] = []
    for each in given:
        runs = [read_run(directory) for directory in find_models(each, runs_dir)]
        together: dict[str, list[Run]] = {}
        for run in runs:
            together.setdefault(_all_but_seed(run), []).append(run)
        groups += together.values()
    if not 2 <= len(groups) <= MOST:
        advice = "`dcgmm results` has tables over many" if len(groups) > MOST else "give run=A run=B"
        raise InputError(
            f"compare takes 2 to {MOST} runs, or sets of runs of several seeds; here are {len(groups)}: {advice}"
        )
    return [Side(letter, runs) for letter, runs in zip(string.ascii_uppercase, groups, strict=False)]


def _all_but_seed(run: Run) -> str:
    kept = {key: as_text(value) for key, value in run.settings.items() if key not in ("seed", *INCIDENTAL)}
    return json.dumps(kept, sort_keys=True)


def differing(sides: Sequence[Side]) -> list[str]:
    """Settings that are not the same on all sides; where something ran is none."""
    keys: dict[str, Cell] = {key: None for side in sides for run in side.runs for key in run.settings}
    return [key for key in keys if key not in INCIDENTAL and len({side.setting(key) for side in sides}) > 1]
