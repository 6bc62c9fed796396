"""`dcgmm compare`: runs side by side, on the terminal or as one page."""

from pathlib import Path

from dcgmm_cli.reports.comparing import comparison
from dcgmm_cli.reports.sides import sides_of
from dcgmm_cli.reports.writing import written
from dcgmm_cli.schema_in_place import CompareConfig

PAGE = "compare.html"  # where the command was typed


def run_in_place(config: CompareConfig) -> Path | None:
    """Show in what runs differ, or write it as a page and return that file.

    Raises:
        InputError: there is no such run, or nothing to compare, or the page cannot be written.
    """
    return written(comparison(sides_of(config.run, config.runs_dir)), config, Path(PAGE))
