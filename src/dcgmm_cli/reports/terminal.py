"""A report on a terminal, or in a pipe."""

import functools
import textwrap
from collections import Counter
from pathlib import Path

import rich.box
import rich.table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dcgmm_cli.reports.content import (
    Block,
    Code,
    Curves,
    Detail,
    Files,
    Grid,
    Note,
    Pairs,
    Pictures,
    Report,
    printable,
    size_text,
)

_ON_PAGES = (Detail, Curves, Pictures)
_NARROWEST, _NAMES = 12, 36  # columns of texts, where they hold more, and the first of a table


def show(report: Report) -> None:
    """Print a report in the terminal's width; what can be copied stays whole."""
    # What stands in names is no markup.
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(Text(printable(report.title), style="bold"), soft_wrap=True)
    for section in report.sections:
        blocks = [block for block in section.blocks if not isinstance(block, _ON_PAGES)]
        if blocks:
            console.print()
            console.print(Text(section.title, style="bold underline"))
        several = sum(isinstance(block, Grid) for block in blocks) > 1
        for number, block in enumerate(blocks):
            if number and not (isinstance(block, Note) and isinstance(blocks[number - 1], Note | Code)):
                console.print()
            if several and isinstance(block, Grid):
                console.print(printable(block.caption))
            _print(block, console)


@functools.singledispatch
def _print(block: Block, console: Console) -> None:
    raise TypeError(block)


@_print.register
def _(block: Pairs, console: Console) -> None:
    width = max(len(name) for name, _ in block.pairs)
    for name, text in block.pairs:
        lines = textwrap.wrap(
            printable(text), max(20, console.width - width - 2), break_long_words=False, break_on_hyphens=False
        )
        for head, line in zip([printable(name), *("" for _ in lines)], lines or [""], strict=False):
            console.print(f"{head:<{width}}  {line}", soft_wrap=True)


@_print.register
def _(block: Grid, console: Console) -> None:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    numeric, needed = block.numeric or [False] * len(block.columns), 0
    for place, (name, number) in enumerate(zip(block.columns, numeric, strict=True)):
        longest = max((cell_len(row[place]) for row in block.rows), default=0)
        least = max(
            [
                longest if number else min(longest, _NARROWEST if place else _NAMES),
                *(cell_len(word) for word in name.split()),
            ]
        )
        table.add_column(printable(name), justify="right" if number else "left", overflow="fold", min_width=least)
        needed += least + 2
    for row in block.rows:
        table.add_row(*map(printable, row))
    console.print(table, width=max(console.width, needed), crop=False)


@_print.register
def _(block: Code, console: Console) -> None:
    console.print(printable(block.text), soft_wrap=True)


@_print.register
def _(block: Note, console: Console) -> None:
    console.print(printable(block.text), soft_wrap=True)


@_print.register
def _(block: Files, console: Console) -> None:
    """The run's own files; of what was done with it a line each."""
    sizes, counts = Counter[Path](), Counter[Path]()
    for path, size in block.sizes.items():
        name = path.relative_to(block.root)
        shown = Path(*name.parts[:2]) if len(name.parts) > 2 else name
        sizes[shown] += size
        counts[shown] += 1
    for name, of_all in sizes.items():
        more = f"/ ({counts[name]} files)" if block.root.joinpath(name).is_dir() else ""
        console.print(f"{size_text(of_all):>8}  {printable(str(name))}{more}", soft_wrap=True)
