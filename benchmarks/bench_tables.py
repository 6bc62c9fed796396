"""Results of benchmarks as tables: of one run, or of two side by side."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

Results = dict[str, dict[str, float]]  # section -> what was measured -> value, the unit in its name


def show(results: Results) -> None:
    table = Table(title="dcgmm benchmarks")
    for column in ("what", "measure", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for section, row in results.items():
        for number, (measure, value) in enumerate(row.items()):
            table.add_row(section if number == 0 else "", measure, f"{value:,.4g}", end_section=number == len(row) - 1)
    Console(width=110).print(table)


def compare(old: Path, new: Path) -> None:
    """Show two result files side by side, with the new value over the old one."""
    before, after = (json.loads(path.read_text())["results"] for path in (old, new))
    table = Table(title=f"{old.name} and {new.name}")
    for column in ("what", "measure", "old", "new", "new / old"):
        table.add_column(column, justify="left" if column in ("what", "measure") else "right")
    for section in [*before, *(name for name in after if name not in before)]:
        rows = [before.get(section, {}), after.get(section, {})]
        for measure in [*rows[0], *(name for name in rows[1] if name not in rows[0])]:
            values = [row.get(measure) for row in rows]
            cells = ["-" if value is None else f"{value:,.4g}" for value in values]
            ratio = f"{values[1] / values[0]:.2f}" if None not in values and values[0] else "-"
            table.add_row(section, measure, *cells, ratio)
    Console(width=130).print(table)
