"""Runs that differ in some settings only, as one row of statistics."""

import difflib
import json
from collections.abc import Sequence
from statistics import fmean, stdev

from dcgmm.errors import InputError
from dcgmm_cli.headlines import higher_is_better
from dcgmm_cli.results.reading import Cell, Run, as_text
from dcgmm_cli.results.selecting import INCIDENTAL, NAMES, Table, check_columns, columns_of, differs, in_order, union


def group(runs: list[Run], over: Sequence[str], columns: Sequence[str] | str | None) -> Table:
    """A row each set of runs that differ in the settings `over` only, with statistics of their results.

    For each numeric result: mean, sample deviation, and worst and best, where it is known which end is better; else
    least and largest; and how many there are, where some runs have none. Runs that have not finished are left out,
    and counted; of runs that were done again with all settings the same, seeds included, the newest stands for all.
    Settings that tell groups apart are shown where the columns that were asked for do not.

    Raises:
        InputError: no run has a column.
    """
    check_columns(over, runs)
    # Follow-up commands have a seed of their own beside the model's.
    own_seeds = [key for key in union(run.settings for run in runs) if key.endswith(".seed") and "seed" in over]
    left_out = (*over, *INCIDENTAL, *own_seeds)
    every: dict[str, list[Run]] = {}
    for run in runs:
        every.setdefault(f"{run.results['command']} {_kept(run, left_out)}", []).append(run)
    groups = [_newest(members) if "seed" in over else members for members in every.values()]
    again = [len(members) - len(kept) for members, kept in zip(every.values(), groups, strict=True)]
    first, kept = [members[0] for members in groups], [run for members in groups for run in members]
    done = [[run for run in members if run.cell("status") == "finished"] for members in groups]
    finished = [run for ended in done for run in ended]
    asked = [column for column in columns_of(kept, columns) if column not in ("run", "date", *left_out)]
    measures = [column for column in asked if column not in ("status", "error") and _is_measured(column, finished)]
    facts = [column for column in asked if column not in (*measures, "status", "error")]
    if columns is None or columns == "all":
        facts = [column for column in facts if column in NAMES or differs(first, column)]
    facts += _hidden(first, facts, left_out)
    counts = {"runs": [len(ended) for ended in done]}
    counts["unfinished"] = [len(members) - len(ended) for members, ended in zip(groups, done, strict=True)]
    counts["again"] = again
    counts = {name: numbers for name, numbers in counts.items() if name == "runs" or any(numbers)}
    rows: list[list[Cell]] = [[_common(members, column) for column in facts] for members in groups]
    for numbers in counts.values():
        for row, number in zip(rows, numbers, strict=True):
            row.append(number)
    head = [*facts, *counts]
    for column in measures:
        values = [[float(run.cell(column)) for run in ended if run.cell(column) is not None] for ended in done]
        gaps = any(0 < len(numbers) < len(ended) for numbers, ended in zip(values, done, strict=True))
        head += [f"{column} {name}" for name in (*(["count"] if gaps else []), *_statistics(column))]
        for row, measured in zip(rows, values, strict=True):
            row += [*([len(measured)] if gaps else []), *_summary(column, measured)]
    return Table(head, rows)


def _kept(run: Run, left_out: Sequence[str]) -> str:
    """A run's settings, without some, as a key."""
    kept = {key: as_text(value) for key, value in run.settings.items() if key not in left_out and value is not None}
    return json.dumps(kept, sort_keys=True)


def _newest(runs: Sequence[Run]) -> list[Run]:
    """Of runs with the same settings, seeds included, the newest, if there is one the newest that has finished."""

    def rank(run: Run) -> tuple[bool, str, str]:
        return run.cell("status") == "finished", run.date or "", str(run.directory)

    newest = {_kept(run, INCIDENTAL): run for run in sorted(runs, key=rank)}
    return [run for run in runs if newest[_kept(run, INCIDENTAL)] is run]


def _hidden(first: Sequence[Run], facts: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """Settings beside the facts that tell groups apart whose facts are the same."""
    alike: dict[str, list[Run]] = {}
    for run in first:
        alike.setdefault(json.dumps([as_text(run.cell(column)) for column in facts]), []).append(run)
    keys = (key for runs in alike.values() if len(runs) > 1 for key in union(run.settings for run in runs))
    known = {*facts, *left_out, "run"}
    return [
        key
        for key in dict.fromkeys(keys)
        if key not in known and any(differs(runs, key) for runs in alike.values() if len(runs) > 1)
    ]


def _common(runs: list[Run], column: str) -> Cell:
    """What all runs have in a column; None where they differ."""
    return runs[0].cell(column) if len({as_text(run.cell(column)) for run in runs}) == 1 else None


def _is_measured(column: str, runs: list[Run]) -> bool:
    if not any(column in run.results for run in runs):
        return False
    values = [run.cell(column) for run in runs if run.cell(column) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _statistics(column: str) -> tuple[str, ...]:
    ends = ("least", "largest") if higher_is_better(column) is None else ("worst", "best")
    return "mean", "deviation", *ends


def _summary(column: str, numbers: list[float]) -> list[float | None]:
    if not numbers:
        return [None] * 4
    deviation = stdev(numbers) if len(numbers) > 1 else None
    ends = (max(numbers), min(numbers)) if higher_is_better(column) is False else (min(numbers), max(numbers))
    return [fmean(numbers), deviation, *ends]


def ordered_groups(table: Table, by: str) -> Table:
    """A table of groups in the order of a column, as `ordered`; a result stands for its mean.

    Raises:
        InputError: the table has no such column.
    """
    column = by.removeprefix("-")
    if f"{column} mean" in table.columns:
        column = f"{column} mean"
    if column not in table.columns:
        close = difflib.get_close_matches(column, table.columns, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"its columns are {', '.join(table.columns)}"
        raise InputError(f"sort={by}: the table has no column {column}; {hint}")
    place = table.columns.index(column)
    return Table(table.columns, in_order(table.rows, lambda row: row[place], by.startswith("-")))
