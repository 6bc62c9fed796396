"""A table as text."""

import csv
import io
import json
import math
from collections.abc import Callable

from dcgmm_cli.headlines import rounded as shortened
from dcgmm_cli.results.reading import Cell, as_text
from dcgmm_cli.results.selecting import Table


def as_csv(table: Table) -> str:
    """Comma-separated values at full precision; empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *([_no_formula(cell) for cell in row] for row in table.rows)])
    return text.getvalue()


def _no_formula(cell: Cell) -> str:
    """A value that no spreadsheet computes: a text that begins as a formula does begins with an apostrophe instead."""
    text = _plain(cell)
    return f"'{text}" if isinstance(cell, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_json(table: Table) -> str:
    """A list of objects at full precision; null where there is no value."""
    return json.dumps([dict(zip(table.columns, row, strict=True)) for row in table.rows], indent=2) + "\n"


def as_markdown(table: Table) -> str:
    """A Markdown table, numbers rounded to read."""
    numeric = numeric_columns(table)
    head, *body = [
        [rounded(cell).replace("|", r"\|").replace("\n", " ") for cell in row] for row in (table.columns, *table.rows)
    ]
    lines = [head, ["---:" if number else "---" for number in numeric], *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers alone."""
    columns = [[row[place] for row in table.rows if row[place] is not None] for place in range(len(table.columns))]
    return [bool(cells) and all(isinstance(cell, int | float) for cell in cells) for cells in columns]


def _plain(cell: Cell) -> str:
    return "" if cell is None else as_text(cell)


def rounded(cell: Cell) -> str:
    """A value as people read it: four significant digits, empty where there is none."""
    return shortened(cell) if isinstance(cell, float) and math.isfinite(cell) else _plain(cell)


FORMATS: dict[str, Callable[[Table], str]] = {"csv": as_csv, "markdown": as_markdown, "json": as_json}
