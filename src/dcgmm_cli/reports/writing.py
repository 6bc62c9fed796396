"""Where a report goes."""

from pathlib import Path

from dcgmm.files import write_text
from dcgmm_cli.reports.content import Report
from dcgmm_cli.reports.terminal import show
from dcgmm_cli.schema_in_place import ReportFormat, ReportOptions


def written(report: Report, options: ReportOptions, place: Path) -> Path | None:
    """Show a report, or write it as a page, by default to a place, and return that file.

    Raises:
        InputError: the page cannot be written.
    """
    if options.format is ReportFormat.table:
        show(report)
        return None
    from dcgmm_cli.reports.page import page  # imports Pillow

    place = Path(options.output or place)
    write_text(place, page(report, place))
    return place
