"""Tables on standard output."""

from rich.console import Console
from rich.table import Table


def print_table(table: Table) -> None:
    """Print a table with its texts as they are: in names from outside `[red]` is no colour and `:a:` no picture."""
    Console(markup=False, emoji=False).print(table)
