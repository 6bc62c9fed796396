"""`dcgmm results`: one table over runs."""

import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import rich.table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dcgmm.errors import InputError
from dcgmm.files import write_text
from dcgmm_cli.headlines import HEADLINES, headlines
from dcgmm_cli.leftovers import find_leftovers, remove_leftover
from dcgmm_cli.results.formats import FORMATS, numeric_columns, rounded
from dcgmm_cli.results.grouping import group, ordered_groups
from dcgmm_cli.results.reading import TRAIN, Run, find_runs
from dcgmm_cli.results.selecting import NAMES, Table, matching, ordered, tabulate
from dcgmm_cli.schema_in_place import Prune, ResultsConfig, TableFormat

PIPE = 120  # columns of a table that goes to no terminal
RUNS = ResultsConfig().paths[0]
WHOLE = {"run", "date"}  # columns that are not narrowed
_NARROWEST = 16  # a column of texts in a terminal
_PARTS = re.compile(r"[^._ ]*[._ ]|[^._ ]+$")  # of a column's name


class Column(NamedTuple):
    """A column as it is shown."""

    numeric: bool
    needed: int  # width of its longest cell
    texts: list[str]


def run_in_place(config: ResultsConfig) -> Path | None:
    """Show the table, or write it to `output` and return that file.

    Raises:
        InputError: there are no runs, or none that meet the conditions, or a column is unknown; or what is to be
            removed cannot be.
    """
    if config.prune is not None:
        default = ResultsConfig(paths=config.paths, prune=config.prune, where=config.where)
        others = [each.name for each in fields(config) if getattr(config, each.name) != getattr(default, each.name)]
        if named := [*config.where, *others]:
            raise InputError(
                f"prune={config.prune} takes directories, and nothing beside them: leave out {', '.join(named)}"
            )
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
        _show(table, _spare(table.columns) if config.columns is None else [])
        return None
    text = FORMATS[config.format](table)
    if config.output is None:
        sys.stdout.write(text)
        return None
    write_text(Path(config.output), text)
    return Path(config.output)


def _prune(paths: list[str], prune: Prune) -> None:
    found, kept = list(find_leftovers(paths)), list[str]()
    for directory in found:
        removed = False
        try:
            removed = prune is Prune.remove and remove_leftover(directory)
        except InputError as error:
            kept.append(str(error))
        print(f"{directory} is removed" if removed else directory)
    what = "run directories in which nothing was made"
    advice = "; prune=remove removes them" if found and prune is Prune.show else ""
    print(f"{len(found)} {what}{advice}", file=sys.stderr)
    if kept:
        raise InputError(f"{len(kept)} of {len(found)} could not be removed: {kept[0]}")


def _table(runs: list[Run], config: ResultsConfig) -> Table:
    columns = config.columns if config.columns in (None, "all") else _names(config.columns)
    if config.group:
        groups = group(runs, _names(config.group), columns)
        return groups if config.sort is None else ordered_groups(groups, config.sort)
    return tabulate(runs if config.sort is None else ordered(runs, config.sort), columns)


def _spare(columns: Sequence[str]) -> list[str]:
    """Columns that nobody asked for and a narrow table can do without, in the order in which they go."""
    ends = [name for name in columns if name.endswith((" worst", " best", " least", " largest"))]
    means = [name for name in columns if name.endswith((" count", " mean", " deviation"))]
    results = [*means, *headlines(HEADLINES, columns)]
    kept = {*NAMES, *ends, *results, "run", "date", "status", "error", "runs", "unfinished", "again"}
    settings = [name for name in columns if name not in kept]
    date = ["date"] if "date" in columns else []
    return [*reversed(ends), *reversed(results[2:]), *date, *reversed(settings), *reversed(results[1:2])]


def _names(given: Any) -> list[str]:
    return [str(name) for name in given] if isinstance(given, list) else [str(given)]


def _show(table: Table, spare: Sequence[str]) -> None:
    """Print a table that fits the terminal, or `PIPE` columns elsewhere, without columns that may be spared."""
    room = shutil.get_terminal_size((PIPE, 25)).columns
    cells = [[rounded(cell).replace("\n", " ") for cell in row] for row in table.rows]
    if "run" in table.columns:
        _shorten(cells, table.columns.index("run"))
    columns = {
        name: Column(number, max(map(cell_len, texts)), list(texts))
        for name, number, texts in zip(table.columns, numeric_columns(table), zip(*cells, strict=True), strict=True)
    }
    left_out = list[str]()
    while (total := sum(widths := _widths(columns, room)) + 3 * len(columns) + 1) > room and left_out != list(spare):
        left_out.append(spare[len(left_out)])
        del columns[left_out[-1]]
    # An error's brackets are no markup. Without a height a dumb terminal is taken to be 80 wide.
    console = Console(width=total, height=25, markup=False, emoji=False, highlight=False)
    lines: list[list[str]] = [[] for _ in widths]
    for row in zip(*(column.texts for column in columns.values()), strict=True):
        parts = [_fold(*cell, console) for cell in zip(row, widths, strict=True)]
        for shown_column, part in zip(lines, parts, strict=True):
            shown_column += part + [""] * (max(map(len, parts)) - len(part))
    shown = rich.table.Table()
    for (name, column), width in zip(columns.items(), widths, strict=True):
        shown.add_column(_fold_name(name, width), justify="right" if column.numeric else "left", width=width)
    # rich lays a thousand rows out much sooner as the lines of one.
    shown.add_row(*map("\n".join, lines))
    console.print(shown)
    if left_out:
        shown_names = ", ".join(left_out[:8]) + (f" and {len(left_out) - 8} more" if len(left_out) > 8 else "")
        print(f"no room for {shown_names}: columns=[...] chooses, format=csv has all", file=sys.stderr)
    elif total > room:
        print(f"the table is {total} wide, the terminal {room}: columns=[...] chooses", file=sys.stderr)


def _shorten(cells: list[list[str]], place: int) -> None:
    """Let runs be named as `run=` takes them: by their name if no other has it; follow-ups by the run that they lie in.

    Where runs lie elsewhere than in runs/<directory>/<name>/, their path stays.
    """
    paths = [Path(row[place]) for row in cells]
    inside = [path.relative_to(RUNS).parts if path.is_relative_to(RUNS) else () for path in paths]
    names = Counter(name for _, name in {parts[:2] for parts in inside if len(parts) in (2, 4)})
    for row, parts in zip(cells, inside, strict=True):
        if len(parts) in (2, 4):
            row[place] = parts[1] if names[parts[1]] == 1 else "/".join(parts[:2])


def _widths(columns: Mapping[str, Column], room: float) -> list[int]:
    """Widths of columns that fit the room, if they can: long texts are narrowed, names folded, numbers left whole."""
    whole = [max(cell_len(name), column.needed) for name, column in columns.items()]
    room -= 3 * len(columns) + 1
    if sum(whole) <= room:
        return whole
    parts = [max(len(part.rstrip()) for part in _PARTS.findall(name)) for name in columns]
    for limit in range(max(_NARROWEST, *(column.needed for column in columns.values())), _NARROWEST - 1, -1):
        narrowed = [
            max(part, column.needed if column.numeric or name in WHOLE else min(column.needed, limit))
            for part, (name, column) in zip(parts, columns.items(), strict=True)
        ]
        if sum(narrowed) <= room:
            break
    return narrowed


def _fold(text: str, width: int, console: Console) -> list[str]:
    """A cell's lines."""
    if cell_len(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(console, width)]


def _fold_name(name: str, width: int) -> str:
    """A column's name in lines, folded at its dots, underscores and blanks."""
    lines = [""]
    for part in _PARTS.findall(name):
        if cell_len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
