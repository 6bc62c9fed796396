"""A table over runs: what was configured, and what came out. Reads no checkpoints and no measurements.

A row is one run directory, flattened: `arch` and `dataset` are names, other columns are dotted keys of the
configuration (`trainer.epochs`) or of the results (`layers.gmm1.test_log_likelihood`, `auroc.top`).
"""

import csv
import difflib
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

import yaml

from dcgmm_cli.errors import UserError
from dcgmm_cli.runs import INCIDENTAL, META, REPLICAS, RESULT, flat, is_at_work, read_json

Item = TypeVar("Item")
Cell = Any  # a number, a text, a truth value, a list of such, or None where a run has no such thing

TRAIN = "train"
# What is no run directory, and holds none.
_SKIPPED = {"checkpoints", "figures", ".hydra", ".submitit"}
# A run that has no result yet, by whether a process is at work in it.
_OPEN = {True: "running", False: "killed", None: "running or killed"}
# First columns of every table.
_NAMES = ("command", "arch", "dataset", "seed")
_INCIDENTAL = ("run", *INCIDENTAL)  # settings that do not tell runs apart
# By command, the results that are shown where none are asked for: columns, or what they begin with.
HEADLINES = {
    TRAIN: ("layers.*.test_log_likelihood", "train_seconds"),
    "outliers": ("auroc.top", "auroc.joint"),
    "cluster": ("dunn", "davies_bouldin", "clusters"),
    "sample": ("diversity", "near_duplicates", "ndb"),
    "sharpen": ("log_likelihood",),
    "visualize": ("layers.*.components_in_use",),
}
# Last part of a result's name (or what it contains) -> whether more of it is better.
_BETTER_HIGH = (
    *("log_likelihood", "auroc", "average_precision", "diversity"),
    *("dunn", "silhouette", "calinski_harabasz", "nmi", "adjusted_rand", "purity", "accuracy"),
)
_BETTER_LOW = ("davies_bouldin", "ndb", "js", "false_positive_rate_95", "near_duplicates", "seconds")


@dataclass(frozen=True)
class Run:
    """A run directory as a row: settings and results by column."""

    directory: Path
    settings: dict[str, Cell]  # of the training run for follow-up commands too, their own seed as <command>.seed
    results: dict[str, Cell]  # with `status`

    def cell(self, column: str) -> Cell:
        """The run's value in a column; None where it has none."""
        if column == "run":
            return str(self.directory)
        setting = self.settings.get(column)
        return self.results.get(column) if setting is None else setting


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    columns: list[str]
    rows: list[list[Cell]]


def find_runs(paths: Sequence[str]) -> list[Run]:
    """All run directories at and under the given ones, each once, in the order of their paths.

    Links below them are not followed: `latest` is no run of its own.

    Raises:
        UserError: a path is no directory, or there is no run under any.
    """
    found: dict[Path, Run] = {}
    for path in paths:
        if not Path(path).is_dir():
            raise UserError(f"{path} is no directory; give the directories that hold the runs")
        # The same directory can be given twice, under names that differ.
        top = Path(path).resolve()
        for directory in _run_directories(top):
            if directory not in found:
                found[directory] = _read(directory, Path(path) / directory.relative_to(top), found)
    if not found:
        raise UserError(f"there is no run under {', '.join(paths)}; start one with `dcgmm train`")
    # Models that were trained side by side have run directories of their own.
    return [run for run in found.values() if not isinstance(run.results.get(REPLICAS), list)]


def _run_directories(top: Path) -> Iterator[Path]:
    """Directories with the marks of a run, parents before what lies in them."""
    for directory, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        if META in files or RESULT in files:
            yield Path(directory)


def _read(directory: Path, shown: Path, known: dict[Path, Run]) -> Run:
    result, meta = _content(directory / RESULT), _content(directory / META)
    results = _flat(result or {})
    if not isinstance(results.get("status"), str):
        is_open = result is not None and meta is not None and not (directory / RESULT).exists()
        results["status"] = _OPEN[is_at_work(directory)] if is_open else "damaged"
    config = (meta or {}).get("config")
    settings = _settings(config if isinstance(config, dict) else _composed(directory))
    command = results.get("command")
    if not isinstance(command, str):
        command = results["command"] = _command(directory, meta or {})
    parent = None if command == TRAIN else _parent(directory, settings.get("run"), known)
    if parent is not None:
        if "seed" in settings:
            settings[f"{command}.seed"] = settings.pop("seed")
        settings |= {key: value for key, value in parent.settings.items() if key not in settings}
    return Run(shown, settings, results)


def _content(path: Path) -> dict[str, Any] | None:
    """A JSON file's content, empty where there is no such file; None where it is damaged."""
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except UserError:
        return None


def _composed(directory: Path) -> dict[str, Any]:
    """Hydra's record of a configuration: all that a run leaves that failed before it began."""
    try:
        content = yaml.load((directory / ".hydra" / "config.yaml").read_text(), Loader=yaml.CSafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _parent(directory: Path, given: Cell, known: dict[Path, Run]) -> Run | None:
    """The training run that a follow-up command worked on: the one that it lies in, else the `run` it was given."""
    places = [directory.parent.parent, *([Path(given).resolve()] if isinstance(given, str) else [])]
    for place in places:
        if place != directory and (place in known or (place / META).is_file()):
            return known.get(place) or _read(place, place, known)
    return None


def _command(directory: Path, meta: dict[str, Any]) -> str:
    """The command whose result is not there: as it was started, else by its place, <run>/<command>/<name>/."""
    try:
        program, _, command = meta["starts"][-1]["argv"][0].partition(" ")
    except (AttributeError, LookupError, TypeError):
        program = command = ""
    if program == "dcgmm" and command:
        return str(command)
    in_run = directory.parent.name != REPLICAS and (directory.parent.parent / META).is_file()
    return directory.parent.name if in_run else TRAIN


def _settings(config: dict[str, Any]) -> dict[str, Cell]:
    """A configuration as columns; `arch` and `dataset` are their names."""
    settings = _flat(config)
    for group in ("arch", "dataset"):
        if f"{group}.name" in settings:
            settings[group] = settings.pop(f"{group}.name")
    if "arch.layers" in settings:
        with suppress(AttributeError, TypeError):  # what is damaged is shown as it is
            settings["arch.layers"] = _notation(settings["arch.layers"])
    return settings


def _notation(layers: Cell) -> str:
    """Layers as the paper writes them: F(7,7,3,3) G(25) P(2,2)."""
    words = []
    for layer in layers:
        numbers = [*(layer.get("kernel") or ()), *(layer.get("stride") or ()), layer.get("components")]
        words.append(f"{str(layer.get('type'))[0].upper()}({','.join(str(size) for size in numbers if size)})")
    return " ".join(words)


def _flat(content: dict[str, Any]) -> dict[str, Cell]:
    return {key: _finite(value) for key, value in flat(content).items()}


def _finite(value: Cell) -> Cell:
    """None in place of what is no number: it has no order and no place in JSON."""
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def matching(runs: list[Run], where: Sequence[str], options: Sequence[str] = ()) -> list[Run]:
    """The runs that meet all conditions `column=value`; several values with commas between are alternatives.

    An unknown column may be one of the `options` misspelt.

    Raises:
        UserError: a condition is none, or no run has its column.
    """
    for condition in where:
        column, separator, wanted = condition.partition("=")
        if not separator:
            raise UserError(f"{condition!r} is no condition; give one as in status=failed")
        _check_columns([column], runs, options)
        choices = [_normal(choice) for choice in _split(wanted)]
        runs = [run for run in runs if _normal(_text(run.cell(column))) in choices]
    return runs


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no brackets."""
    return [part for part in re.split(r",(?![^\[]*\])", text) if part]


def _normal(text: str) -> str:
    """One spelling for equal values: numbers as numbers, lists without blanks."""
    try:
        return repr(float(text))
    except ValueError:
        return text.replace(" ", "").lower() if text.startswith("[") else text


def _text(value: Cell) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def ordered(runs: list[Run], by: str) -> list[Run]:
    """Runs in the order of a column, from large to small with a minus before its name; missing values last.

    Raises:
        UserError: no run has the column.
    """
    column = by.removeprefix("-")
    _check_columns([column], runs)
    return _in_order(runs, lambda run: run.cell(column), by.startswith("-"))


def _in_order(items: list[Item], cell: Callable[[Item], Cell], descending: bool) -> list[Item]:
    there = [item for item in items if cell(item) is not None]
    there.sort(key=lambda item: _rank(cell(item)), reverse=descending)
    return [*there, *(item for item in items if cell(item) is None)]


def _rank(value: Cell) -> tuple[bool, Any]:
    # Numbers before texts: they cannot be compared with each other.
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else str(value)


def tabulate(runs: list[Run], columns: Sequence[str] | str | None) -> Table:
    """A row each run: the columns asked for, or all, or (None) those that tell the runs apart and their main results.

    Raises:
        UserError: no run has a column.
    """
    chosen = _columns(runs, columns)
    return Table(chosen, [[run.cell(column) for column in chosen] for run in runs])


def _columns(runs: list[Run], columns: Sequence[str] | str | None) -> list[str]:
    settings, results = _union(run.settings for run in runs), _union(run.results for run in runs)
    if columns == "all":
        return ["run", *dict.fromkeys([*settings, *results])]
    if columns is not None:
        given = [columns] if isinstance(columns, str) else list(columns)
        _check_columns(given, runs)
        return given
    commands = {run.results["command"] for run in runs}
    names = [name for name in _NAMES if name != "command" or len(commands) > 1]
    hidden = {*_NAMES, *_INCIDENTAL, *([] if _same_name_other_layers(runs) else ["arch.layers"])}
    differing = [key for key in settings if key not in hidden and _differs(runs, key)]
    error = ["error"] if "error" in results else []
    return ["run", *names, *differing, "status", *error, *_headlines(commands, results)]


def _headlines(commands: set[str], results: Iterable[str]) -> list[str]:
    wanted = [pattern for command in HEADLINES if command in commands for pattern in HEADLINES[command]]
    shown = []
    for pattern in wanted:
        expression = re.escape(pattern).replace(r"\*", "[^.]+") + r"(\..+)?"
        shown += [column for column in results if re.fullmatch(expression, column)]
    return list(dict.fromkeys(shown))


def _same_name_other_layers(runs: list[Run]) -> bool:
    stacks = {(_text(run.settings.get("arch")), _text(run.settings.get("arch.layers"))) for run in runs}
    return len({name for name, _ in stacks}) < len(stacks)


def _differs(runs: list[Run], key: str) -> bool:
    return len({_text(run.settings.get(key)) for run in runs}) > 1


def _union(rows: Iterable[dict[str, Cell]]) -> dict[str, None]:
    return {key: None for row in rows for key in row}


def _check_columns(columns: Sequence[str], runs: list[Run], options: Sequence[str] = ()) -> None:
    known = {"run", *_union(run.settings for run in runs), *_union(run.results for run in runs)}
    for column in columns:
        if column not in known:
            close = difflib.get_close_matches(column, [*known, *options], 3)
            hint = f"did you mean {' or '.join(close)}?" if close else "columns=all shows what there is"
            raise UserError(f"no run here has {column}: {hint}")


def group(runs: list[Run], over: Sequence[str], columns: Sequence[str] | str | None) -> Table:
    """A row each set of runs that differ in the settings `over` only, with statistics of their results.

    For each numeric result: mean, sample deviation, and worst and best, where it is known which end is better; else
    least and largest; and how many there are, where some runs have none. Runs that have not finished are left out,
    and counted.

    Raises:
        UserError: no run has a column.
    """
    _check_columns(over, runs)
    left_out = (*over, *_INCIDENTAL, *(key for key in _union(run.settings for run in runs) if key.endswith(".seed")))
    groups: dict[str, list[Run]] = {}
    for run in runs:
        kept = {key: _text(value) for key, value in run.settings.items() if key not in left_out and value is not None}
        groups.setdefault(json.dumps([run.results["command"], kept], sort_keys=True), []).append(run)
    first = [members[0] for members in groups.values()]
    finished = [run for run in runs if run.cell("status") == "finished"]
    chosen = [column for column in _columns(runs, columns) if column != "run" and column not in left_out]
    measures = [column for column in chosen if column not in ("status", "error") and _is_measured(column, finished)]
    facts = [column for column in chosen if column not in (*measures, "status", "error")]
    if columns is None or columns == "all":
        facts = [column for column in facts if column in _NAMES or _differs(first, column)]
    head = [*facts, "runs", *(["unfinished"] if len(finished) < len(runs) else [])]
    done = [[run for run in members if run.cell("status") == "finished"] for members in groups.values()]
    rows: list[list[Cell]] = []
    for members, ended in zip(groups.values(), done, strict=True):
        counts = [len(ended), *([len(members) - len(ended)] if len(finished) < len(runs) else [])]
        rows.append([*(_common(members, column) for column in facts), *counts])
    for column in measures:
        values = [[float(run.cell(column)) for run in ended if run.cell(column) is not None] for ended in done]
        gaps = any(0 < len(numbers) < len(ended) for numbers, ended in zip(values, done, strict=True))
        head += [f"{column} {name}" for name in (*(["count"] if gaps else []), *_statistics(column))]
        for row, numbers in zip(rows, values, strict=True):
            row += [*([len(numbers)] if gaps else []), *_summary(column, numbers)]
    return Table(head, rows)


def _common(runs: list[Run], column: str) -> Cell:
    """What all runs have in a column; None where they differ."""
    return runs[0].cell(column) if len({_text(run.cell(column)) for run in runs}) == 1 else None


def _is_measured(column: str, runs: list[Run]) -> bool:
    if not any(column in run.results for run in runs):
        return False
    values = [run.cell(column) for run in runs if run.cell(column) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _direction(column: str) -> int:
    """1 where more of a result is better, -1 where less is, 0 where that is not known."""
    for names, direction in ((_BETTER_LOW, -1), (_BETTER_HIGH, 1)):
        if any(re.search(rf"(^|[._]){re.escape(name)}($|[._])", column) for name in names):
            return direction
    return 0


def _statistics(column: str) -> tuple[str, ...]:
    return ("mean", "deviation", "worst", "best") if _direction(column) else ("mean", "deviation", "least", "largest")


def _summary(column: str, numbers: list[float]) -> list[float | None]:
    if not numbers:
        return [None] * 4
    deviation = stdev(numbers) if len(numbers) > 1 else None
    ends = (max(numbers), min(numbers)) if _direction(column) < 0 else (min(numbers), max(numbers))
    return [fmean(numbers), deviation, *ends]


def ordered_groups(table: Table, by: str) -> Table:
    """A table of groups in the order of a column, as `ordered`; a result stands for its mean.

    Raises:
        UserError: the table has no such column.
    """
    column = by.removeprefix("-")
    if f"{column} mean" in table.columns:
        column = f"{column} mean"
    if column not in table.columns:
        close = difflib.get_close_matches(column, table.columns, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"its columns are {', '.join(table.columns)}"
        raise UserError(f"sort={by}: the table has no column {column}; {hint}")
    place = table.columns.index(column)
    return Table(table.columns, _in_order(table.rows, lambda row: row[place], by.startswith("-")))


def as_csv(table: Table) -> str:
    """Comma-separated values at full precision; empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *([_plain(cell) for cell in row] for row in table.rows)])
    return text.getvalue()


def as_json(table: Table) -> str:
    """A list of objects at full precision; null where there is no value."""
    return json.dumps([dict(zip(table.columns, row, strict=True)) for row in table.rows], indent=2) + "\n"


def as_markdown(table: Table) -> str:
    """A Markdown table, numbers rounded to read."""
    numeric = numeric_columns(table)
    head, *body = [
        [rounded(cell).replace("|", r"\|").replace("\n", " ") for cell in row] for row in (table.columns, *table.rows)
    ]
    lines = [head, ["---:" if number else "---" for number in numeric], *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers alone."""
    columns = [[row[place] for row in table.rows if row[place] is not None] for place in range(len(table.columns))]
    return [bool(cells) and all(isinstance(cell, int | float) for cell in cells) for cells in columns]


def _plain(cell: Cell) -> str:
    return "" if cell is None else _text(cell)


def rounded(cell: Cell) -> str:
    """A value as people read it: four significant digits, empty where there is none."""
    if isinstance(cell, float) and math.isfinite(cell):
        return f"{cell:.4g}" if abs(cell) < 1e4 else f"{cell:,.0f}"
    return _plain(cell)


FORMATS: dict[str, Callable[[Table], str]] = {"csv": as_csv, "markdown": as_markdown, "json": as_json}
