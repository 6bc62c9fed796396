"""`dcgmm show`: what a run was, on the terminal or as one page to send to somebody."""

from pathlib import Path

from dcgmm_cli.reports.facts import report_of
from dcgmm_cli.reports.writing import written
from dcgmm_cli.runs import find_run
from dcgmm_cli.schema_in_place import ShowConfig

PAGE = "show.html"  # in the run directory


def run_in_place(config: ShowConfig) -> Path | None:
    """Show a run, or write its page and return that file.

    Raises:
        InputError: there is no such run, or the page cannot be written.
    """
    directory = find_run(config.run, config.runs_dir, follow_ups=True)
    return written(report_of(directory), config, directory / PAGE)
