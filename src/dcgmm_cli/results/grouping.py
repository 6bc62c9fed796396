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
    and counted.

    Raises:
        InputError: no run has a column.
    """
    check_columns(over, runs)
    # Follow-up commands have a seed of their own beside the model's.
    own_seeds = [key for key in union(run.settings for run in runs) if key.endswith(".seed") and "seed" in over]
    left_out = (*over, *INCIDENTAL, *own_seeds)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        kept = {key: as_text(value) for key, value in run.settings.items() if key not in left_out and value is not None}
        groups.setdefault(json.dumps([run.results["command"], kept], sort_keys=True), []).append(run)
    first = [members[0] for members in groups.values()]
    finished = [run for run in runs if run.cell("status") == "finished"]
    chosen = [column for column in columns_of(runs, columns) if column != "run" and column not in left_out]
    measures = [column for column in chosen if column not in ("status", "error") and _is_measured(column, finished)]
    facts = [column for column in chosen if column not in (*measures, "status", "error")]
    if columns is None or columns == "all":
        facts = [column for column in facts if column in NAMES or differs(first, column)]
    head = [*facts, "runs", *(["unfinished"] if len(finished) < len(runs) else [])]
    done = [[run for run in members if run.cell("status") == "finished"] for members in groups.values()]
    rows: list[list[Cell]] = []
    for members, ended in zip(groups.values(), done, strict=True):
        counts = [len(ended), *([len(members) - len(ended)] if len(finished) < len(runs) else [])]
        rows.append([*(_common(members, column) for column in facts), *counts])
    for column in measures:
        values = [[float(run.cell(column)) for run in ended if run.cell(column) is not None] for ended in done]
        gaps = any(0 < len(numbers) < len(ended) for numbers, ended in zip(values, done, strict=True))
        head += [f"{column} {name}" for name in (*(["count"] if gaps else []), *_statistics(column))]
        for row, numbers in zip(rows, values, strict=True):
            row += [*([len(numbers)] if gaps else []), *_summary(column, numbers)]
    return Table(head, rows)


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
