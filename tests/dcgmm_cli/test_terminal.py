import pytest
from rich.table import Table

from dcgmm_cli.terminal import print_table


def test_names_from_outside_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title="[red]a[/]", caption=":smile:")
    table.add_column("name")
    table.add_row("[/] [bold]b")
    print_table(table)
    shown = capsys.readouterr().out
    for text in ("[red]a[/]", ":smile:", "[/] [bold]b"):
        assert text in shown
