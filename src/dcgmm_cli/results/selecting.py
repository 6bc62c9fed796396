"""Which runs a table shows, in which order, under which columns."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dcgmm.errors import InputError
from dcgmm_cli.headlines import headlines
from dcgmm_cli.results.reading import Cell, Run, as_text
from dcgmm_cli.schema import marked

Item = TypeVar("Item")

# First columns of every table.
NAMES = ("command", "arch", "dataset", "seed")
INCIDENTAL = ("run", *marked("incidental"))  # settings that do not tell runs apart


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    columns: list[str]
    rows: list[list[Cell]]


def matching(runs: list[Run], where: Sequence[str], options: Sequence[str] = ()) -> list[Run]:
    """The runs that meet all conditions `column=value`; several values with commas between are alternatives.

    An unknown column may be one of the `options` misspelt.

    Raises:
        InputError: a condition is none, or no run has its column.
    """
    for condition in where:
        column, separator, wanted = condition.partition("=")
        if not separator:
            raise InputError(f"{condition!r} is no condition; give one as in status=failed")
        check_columns([column], runs, options)
        choices = [_normal(choice) for choice in _split(wanted)]
        runs = [run for run in runs if _normal(as_text(run.cell(column))) in choices]
    return runs


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no brackets."""
    return [part for part in re.split(r",(?![^\[]*\])", text) if part]


def _normal(text: str) -> str:
    """One spelling for equal values: numbers as numbers, lists without blanks."""
    try:
        return repr(float(text))
    except ValueError:
        return text.replace(" ", "").lower() if text.startswith("[") else text


def ordered(runs: list[Run], by: str) -> list[Run]:
    """Runs in the order of a column, from large to small with a minus before its name; missing values last.

    Raises:
        InputError: no run has the column.
    """
    column = by.removeprefix("-")
    check_columns([column], runs)
    return in_order(runs, lambda run: run.cell(column), by.startswith("-"))


def in_order(items: list[Item], cell: Callable[[Item], Cell], descending: bool) -> list[Item]:
    """Items in the order of a cell of each, those without one last."""
    there = [item for item in items if cell(item) is not None]
    there.sort(key=lambda item: _rank(cell(item)), reverse=descending)
    return [*there, *(item for item in items if cell(item) is None)]


def _rank(value: Cell) -> tuple[bool, Any]:
    # Numbers before texts: they cannot be compared with each other.
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else str(value)


def tabulate(runs: list[Run], columns: Sequence[str] | str | None) -> Table:
    """A row each run: the columns asked for, or all, or (None) those that tell the runs apart and their main results.

    Raises:
        InputError: no run has a column.
    """
    chosen = columns_of(runs, columns)
    return Table(chosen, [[run.cell(column) for column in chosen] for run in runs])


def columns_of(runs: list[Run], columns: Sequence[str] | str | None) -> list[str]:
    """The columns of `tabulate`."""
    settings, results = union(run.settings for run in runs), union(run.results for run in runs)
    if columns == "all":
        return ["run", "date", *dict.fromkeys([*settings, *results])]
    if columns is not None:
        given = [columns] if isinstance(columns, str) else list(columns)
        check_columns(given, runs)
        return given
    commands = {run.results["command"] for run in runs}
    names = [name for name in NAMES if name != "command" or len(commands) > 1]
    hidden = {*NAMES, *INCIDENTAL}
    differing = [key for key in settings if key not in hidden and _tells_apart(runs, key)]
    error = ["error"] if "error" in results else []
    date = ["date"] if any(run.date for run in runs) else []
    return ["run", *date, *names, *differing, "status", *error, *headlines(commands, results)]


def _tells_apart(runs: list[Run], key: str) -> bool:
    """Whether a setting differs where the names do not say so: an architecture's name stands for what is in it."""
    if not key.startswith("arch."):
        return differs(runs, key)
    values = {(as_text(run.settings.get("arch")), as_text(run.settings.get(key))) for run in runs}
    return len({name for name, _ in values}) < len(values)


def differs(runs: list[Run], key: str) -> bool:
    """Whether a setting is not the same in all runs."""
    return len({as_text(run.settings.get(key)) for run in runs}) > 1


def union(rows: Iterable[dict[str, Cell]]) -> dict[str, None]:
    """All columns of some rows, in the order in which they come first."""
    return {key: None for row in rows for key in row}


def check_columns(columns: Sequence[str], runs: list[Run], options: Sequence[str] = ()) -> None:
    """Refuse columns that no run has, with what is near.

    Raises:
        InputError: no run has a column, nor is it one of the options.
    """
    known = {"run", "date", *union(run.settings for run in runs), *union(run.results for run in runs)}
    for column in columns:
        if column not in known:
            close = difflib.get_close_matches(column, [*known, *options], 3)
            hint = f"did you mean {' or '.join(close)}?" if close else "columns=all shows what there is"
            raise InputError(f"no run here has {column}: {hint}")
