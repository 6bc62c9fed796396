"""`dcgmm results`: one table over runs."""

import sys
from pathlib import Path
from typing import Any

import rich.table
from rich.console import Console

from dcgmm_cli.config import ResultsConfig
from dcgmm_cli.errors import UserError
from dcgmm_cli.results import FORMATS, TRAIN, Table, find_runs, group, matching, ordered, rounded, tabulate
from dcgmm_cli.runs import write_text


def run_in_place(config: ResultsConfig) -> Path | None:
    """Show the table, or write it to `output` and return that file.

    Raises:
        UserError: there are no runs, or none that meet the conditions, or a column or format is unknown.
    """
    if config.format not in ("table", *FORMATS):
        raise UserError(f"format={config.format} is unknown; choose table, {', '.join(FORMATS)}")
    if config.output is not None and config.format == "table":
        raise UserError(f"output={config.output} needs a format for files: format={', '.join(FORMATS)}")
    where = list(config.where)
    if not any(condition.startswith("command=") for condition in where):
        where.insert(0, f"command={TRAIN}")
    where = [condition for condition in where if condition != "command=all"]
    runs = matching(find_runs(config.paths), where)
    if not runs:
        raise UserError(f"no run here has {' and '.join(where)}")
    table = group(runs, _names(config.group), config.columns) if config.group else tabulate(runs, config.columns)
    if config.sort is not None:
        table = ordered(table, config.sort)
    if config.format == "table":
        _show(table)
        return None
    text = FORMATS[config.format](table)
    if config.output is None:
        sys.stdout.write(text)
        return None
    write_text(Path(config.output), text)
    return Path(config.output)


def _names(given: Any) -> list[str]:
    return [str(name) for name in given] if isinstance(given, list) else [str(given)]


def _show(table: Table) -> None:
    shown = rich.table.Table()
    for place, column in enumerate(table.columns):
        numeric = all(isinstance(row[place], int | float | None) for row in table.rows)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*map(rounded, row))
    # In a pipe there is no width to keep to.
    Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=False).print(shown)
