"""`dcgmm results`: one table over runs."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import rich.table
from rich.cells import cell_len
from rich.console import Console

from dcgmm_cli.config import ResultsConfig
from dcgmm_cli.errors import UserError
from dcgmm_cli.results import (
    FORMATS,
    TRAIN,
    Run,
    Table,
    find_runs,
    group,
    matching,
    numeric_columns,
    ordered,
    ordered_groups,
    rounded,
    tabulate,
)
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
    runs = matching(find_runs(config.paths), where, [field.name for field in fields(config)])
    if not runs:
        raise UserError(f"no run here has {' and '.join(where)}")
    table = _table(runs, config)
    if config.format == "table":
        _show(table)
        return None
    text = FORMATS[config.format](table)
    if config.output is None:
        sys.stdout.write(text)
        return None
    write_text(Path(config.output), text)
    return Path(config.output)


def _table(runs: list[Run], config: ResultsConfig) -> Table:
    columns = config.columns if config.columns in (None, "all") else _names(config.columns)
    if config.group:
        groups = group(runs, _names(config.group), columns)
        return groups if config.sort is None else ordered_groups(groups, config.sort)
    return tabulate(runs if config.sort is None else ordered(runs, config.sort), columns)


def _names(given: Any) -> list[str]:
    return [str(name) for name in given] if isinstance(given, list) else [str(given)]


def _show(table: Table) -> None:
    shown = rich.table.Table()
    numeric = numeric_columns(table)
    for column, number in zip(table.columns, numeric, strict=True):
        shown.add_column(column, justify="right" if number else "left", overflow="fold")
    # In a pipe there is no width to keep to. An error's brackets are no markup.
    width = None if sys.stdout.isatty() else 10_000
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    cells = [[rounded(cell).replace("\n", " ") for cell in row] for row in table.rows]
    widths = [3 + max(map(cell_len, column)) for column in zip(table.columns, *cells, strict=True)]
    if cells and sum(widths) < console.width:
        # Where no cell is folded, rich lays a thousand rows out much sooner as the lines of one.
        shown.add_row(*("\n".join(column) for column in zip(*cells, strict=True)))
    else:
        for row in cells:
            shown.add_row(*row)
    console.print(shown)
