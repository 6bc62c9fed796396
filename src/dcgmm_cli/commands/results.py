"""`dcgmm results`: one table over runs."""

import math
import re
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import rich.table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dcgmm.errors import InputError
from dcgmm.files import write_text
from dcgmm_cli.leftovers import find_leftovers, remove_leftover
from dcgmm_cli.results.formats import FORMATS, numeric_columns, rounded
from dcgmm_cli.results.grouping import group, ordered_groups
from dcgmm_cli.results.reading import TRAIN, Run, find_runs
from dcgmm_cli.results.selecting import Table, matching, ordered, tabulate
from dcgmm_cli.schema import Prune, ResultsConfig, TableFormat

_NARROWEST = 12  # a column of texts in a terminal
_PARTS = re.compile(r"[^._ ]*[._ ]|[^._ ]+$")  # of a column's name


def run_in_place(config: ResultsConfig) -> Path | None:
    """Show the table, or write it to `output` and return that file.

    Raises:
        InputError: there are no runs, or none that meet the conditions, or a column is unknown.
    """
    if config.prune is not None:
        if config != ResultsConfig(paths=config.paths, prune=config.prune):
            raise InputError(f"prune={config.prune} takes directories, and nothing beside them")
        _prune(config.paths, config.prune)
        return None
    if config.output is not None and config.format is TableFormat.table:
        raise InputError(f"output={config.output} needs a format for files: format={', '.join(FORMATS)}")
    where = list(config.where)
    if not any(condition.startswith("command=") for condition in where):
        where.insert(0, f"command={TRAIN}")
    where = [condition for condition in where if condition != "command=all"]
    runs = matching(find_runs(config.paths), where, [field.name for field in fields(config)])
    if not runs:
        raise InputError(f"no run here has {' and '.join(where)}")
    table = _table(runs, config)
    if config.format is TableFormat.table:
        _show(table)
        return None
    text = FORMATS[config.format](table)
    if config.output is None:
        sys.stdout.write(text)
        return None
    write_text(Path(config.output), text)
    return Path(config.output)


def _prune(paths: list[str], prune: Prune) -> None:
    found = list(find_leftovers(paths))
    for directory in found:
        removed = prune is Prune.remove and remove_leftover(directory)
        print(f"{directory} is removed" if removed else directory)
    what = "run directories in which nothing was made"
    advice = "; prune=remove removes them" if found and prune is Prune.show else ""
    print(f"{len(found)} {what}{advice}", file=sys.stderr)


def _table(runs: list[Run], config: ResultsConfig) -> Table:
    columns = config.columns if config.columns in (None, "all") else _names(config.columns)
    if config.group:
        groups = group(runs, _names(config.group), columns)
        return groups if config.sort is None else ordered_groups(groups, config.sort)
    return tabulate(runs if config.sort is None else ordered(runs, config.sort), columns)


def _names(given: Any) -> list[str]:
    return [str(name) for name in given] if isinstance(given, list) else [str(given)]


def _show(table: Table) -> None:
    numeric = numeric_columns(table)
    cells = [[rounded(cell).replace("\n", " ") for cell in row] for row in table.rows]
    # In a pipe there is no width to keep to.
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf
    widths = _widths(table.columns, cells, numeric, room)
    total = sum(widths) + 3 * len(widths) + 1
    # An error's brackets are no markup. Without a height a dumb terminal is taken to be 80 wide.
    console = Console(width=total, height=25, markup=False, emoji=False, highlight=False)
    lines: list[list[str]] = [[] for _ in widths]
    for row in cells:
        parts = [_fold(*cell, console) for cell in zip(table.columns, row, widths, strict=True)]
        for column, part in zip(lines, parts, strict=True):
            column += part + [""] * (max(map(len, parts)) - len(part))
    shown = rich.table.Table()
    for name, number, width in zip(table.columns, numeric, widths, strict=True):
        shown.add_column(_fold_name(name, width), justify="right" if number else "left", width=width)
    # rich lays a thousand rows out much sooner as the lines of one.
    shown.add_row(*map("\n".join, lines))
    console.print(shown)
    if total > room:
        print(f"the table is {total} wide, the terminal {room}: columns=[...] chooses", file=sys.stderr)


def _widths(names: list[str], cells: list[list[str]], numeric: list[bool], room: float) -> list[int]:
    """Widths of columns that fit the room, if they can: long texts are narrowed, names folded, numbers left whole."""
    needed = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    whole = [max(cell_len(name), width) for name, width in zip(names, needed, strict=True)]
    room -= 3 * len(names) + 1
    if sum(whole) <= room:
        return whole
    parts = [max(len(part.rstrip()) for part in _PARTS.findall(name)) for name in names]
    for limit in range(max(_NARROWEST, *needed), _NARROWEST - 1, -1):
        narrowed = [
            max(part, width if number else min(width, limit))
            for part, width, number in zip(parts, needed, numeric, strict=True)
        ]
        if sum(narrowed) <= room:
            break
    return narrowed


def _fold(name: str, text: str, width: int, console: Console) -> list[str]:
    """A cell's lines: of a directory the end, by which `run=` finds it too."""
    if cell_len(text) <= width:
        return [text]
    if name == "run":
        return [f"…{text[1 - width :]}"]
    return [line.plain.rstrip() for line in Text(text).wrap(console, width)]


def _fold_name(name: str, width: int) -> str:
    """A column's name in lines, folded at its dots, underscores and blanks."""
    lines = [""]
    for part in _PARTS.findall(name):
        if cell_len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
