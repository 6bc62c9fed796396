"""A table or figure as it is collected, in two files: a table (CSV) with a row a run, and JSON for the rest."""

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcgmm.files import read_json, write_text

QUALITIES = ("diversity", "near_duplicates", "train_distance", "ndb", "js")  # of samples

Row = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """A table or figure as it is collected: a row a run, and what does not fit into rows."""

    rows: list[Row]
    more: dict[str, Any] = field(default_factory=dict)


def write_item(out: Path, item: str, collected: Item) -> None:
    """Write `<item>.csv` and `<item>.json`."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in collected.rows for key in row))
    lines = csv.DictWriter(text, columns, lineterminator="\n")
    lines.writeheader()
    lines.writerows({key: _shorter(value) for key, value in row.items()} for row in collected.rows)
    write_text(out / f"{item}.csv", text.getvalue())
    write_text(out / f"{item}.json", json.dumps(collected.more, indent=1, allow_nan=False) + "\n")


def read_item(out: Path, item: str) -> Item | None:
    """An item that was collected; None where it was not."""
    table = out / f"{item}.csv"
    if not table.is_file():
        return None
    with table.open(newline="") as file:
        rows = [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]
    return Item(rows, read_json(out / f"{item}.json"))


def _shorter(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
