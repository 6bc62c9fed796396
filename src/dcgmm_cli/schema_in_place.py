"""Configurations of the commands that compute nothing, and write where they are told. Imports nothing slow."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dcgmm.datasets.options import FETCHED, DataRootOptions
from dcgmm.errors import OptionError
from dcgmm.options import PATH, Options, option


@dataclass
class DataConfig(Options):
    """`dcgmm data`."""

    fetch: Any = option(None, "data sets to fetch, as in [mnist,svhn], or all; null: none", choices=("all", *FETCHED))
    remove: Any = option(None, "decoded images to remove, by name as in the list, or all; null: none", choices=("all",))
    dataset: DataRootOptions = option(DataRootOptions)


class TableFormat(StrEnum):
    """Formats of a table."""

    table = "table"
    csv = "csv"
    markdown = "markdown"
    json = "json"


class Prune(StrEnum):
    """What to do with run directories in which nothing was made."""

    show = "show"
    remove = "remove"


@dataclass
class ResultsConfig(Options):
    """`dcgmm results`."""

    paths: list[str] = option(["runs"], "directories with runs: words without =, as in runs/a")
    where: list[str] = option([], "conditions: every other column=value, as in arch=1L status=failed")
    columns: Any = option(
        None, "columns, as in [arch,auroc.top], or all; null: what tells the runs apart, and main results"
    )
    group: Any = option(None, "settings to summarise over, as in seed: mean, deviation, worst and best of the results")
    sort: str | None = option(None, "column to sort by; with a minus before it from large to small")
    format: TableFormat = option(TableFormat.table, "table, csv, markdown or json")
    output: str | None = option(None, "file to write to; null: standard output", PATH)
    prune: Prune | None = option(
        None, "instead of a table: show or remove run directories of starts that failed or were killed early"
    )


class ReportFormat(StrEnum):
    """Formats of a report."""

    table = "table"
    html = "html"


@dataclass(kw_only=True)
class ReportOptions(Options):
    """Where runs are, and what becomes of a report on them.

    Raises:
        OptionError: a file is given for what goes to the terminal.
    """

    runs_dir: str = option("runs", "where run directories are", PATH, incidental=True)
    format: ReportFormat = option(ReportFormat.table, "table (on the terminal) or html (one page with the pictures)")
    output: str | None = option(None, "file of the page; null: <run>/show.html, or compare.html", PATH)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None and self.format is ReportFormat.table:
            raise OptionError("output", "left out, or format=html given", self.output, type(self))


@dataclass(kw_only=True)
class ShowConfig(ReportOptions):
    """`dcgmm show`."""

    run: str = option("latest", "the run, training or follow-up: its path, its name, or latest")


@dataclass(kw_only=True)
class CompareConfig(ReportOptions):
    """`dcgmm compare`."""

    run: list[str] = option(
        [], "two runs or more, as in run=A run=B: paths or names; a directory: its runs, those of one setting as one"
    )
