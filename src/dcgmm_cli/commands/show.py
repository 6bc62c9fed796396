"""`dcgmm show`: what a run was, on the terminal or as one page to send to somebody."""

from pathlib import Path

from dcgmm.errors import InputError
from dcgmm.files import write_text
from dcgmm_cli.reports.content import Report
from dcgmm_cli.reports.facts import report_of
from dcgmm_cli.reports.terminal import show
from dcgmm_cli.runs import find_run
from dcgmm_cli.schema import ReportFormat, ShowConfig

PAGE = "show.html"  # in the run directory


def run_in_place(config: ShowConfig) -> Path | None:
    """Show a run, or write its page and return that file.

    Raises:
        InputError: there is no such run, or the table is given a file, or the page cannot be written.
    """
    if config.output is not None and config.format is ReportFormat.table:
        raise InputError(f"output={config.output} needs format=html")
    directory = find_run(config.run, config.runs_dir)
    report = report_of(directory)
    if config.format is ReportFormat.table:
        show(report)
        return None
    return write_page(report, Path(config.output or directory / PAGE))


def write_page(report: Report, place: Path) -> Path:
    """Write a report as a page, and return where it is."""
    from dcgmm_cli.reports.page import page  # imports Pillow

    write_text(place, page(report, place))
    return place
