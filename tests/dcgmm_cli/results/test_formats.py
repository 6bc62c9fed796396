import csv
import io
import json
from pathlib import Path

from dcgmm_cli.results.formats import as_csv, as_json, as_markdown
from dcgmm_cli.results.grouping import group
from dcgmm_cli.results.reading import find_runs
from dcgmm_cli.results.selecting import Table, ordered, tabulate
from tests.dcgmm_cli.results.conftest import write


def test_what_is_no_number_is_missing(root: Path) -> None:
    meta = {"config": {"arch": {"name": "1L"}, "dataset": {"name": "mnist"}, "seed": 0}}
    write(root / "x" / "a", meta, '{"command": "train", "status": "finished", "seconds": NaN, "curve": [1, Infinity]}')
    write(root / "x" / "b", meta, '{"command": "train", "status": "finished", "seconds": 3}')
    runs = find_runs([str(root / "x")])
    assert [run.cell("seconds") for run in ordered(runs, "-seconds")] == [3, None]

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    rows = json.loads(as_json(tabulate(runs, ["seconds", "curve"])), parse_constant=refuse)
    assert rows == [{"seconds": None, "curve": [1, None]}, {"seconds": 3, "curve": None}]
    assert group(runs, ["command"], ["seconds"]).rows == [[2, 1, 3.0, None, 3.0, 3.0]]


def test_formats_read_back(root: Path) -> None:
    table = Table(["name", "x | y", "n"], [["a,\nb", 1 / 3, None], ['"q"', 12345678.9, True]])
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [
        ["name", "x | y", "n"],
        ["a,\nb", str(1 / 3), ""],
        ['"q"', "12345678.9", "true"],
    ]
    assert json.loads(as_json(table)) == [
        {"name": "a,\nb", "x | y": 1 / 3, "n": None},
        {"name": '"q"', "x | y": 12345678.9, "n": True},
    ]
    lines = as_markdown(table).splitlines()
    assert lines == [
        r"| name | x \| y | n |",
        "| --- | ---: | ---: |",
        "| a, b | 0.3333 |  |",
        '| "q" | 12,345,679 | true |',
    ]


def test_no_text_is_a_spreadsheets_formula() -> None:
    table = Table(["name", "x"], [["=1+1", -1.5], ["@a", -2], ["a=b", None]])
    assert list(csv.reader(io.StringIO(as_csv(table))))[1:] == [["'=1+1", "-1.5"], ["'@a", "-2"], ["a=b", ""]]
