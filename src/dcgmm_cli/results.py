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
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from dcgmm_cli.errors import UserError
from dcgmm_cli.runs import META, REPLICAS, RESULT, read_json

Cell = Any  # a number, a text, a truth value, a list of such, or None where a run has no such thing

TRAIN = "train"
# What is no run directory, and holds none.
_SKIPPED = {"checkpoints", "figures", ".hydra", ".submitit"}
# First columns of every table.
_NAMES = ("command", "arch", "dataset", "seed")
# Settings that say where or on what a run was made, not what it is.
_INCIDENTAL = ("run", "runs_dir", "device", "threads", "trainer.device", "trainer.threads", "dataset.root")
# By command, the results that are shown where none are asked for: columns, or what they begin with.
HEADLINES = {
    TRAIN: ("layers.*.test_log_likelihood", "train_seconds"),
    "outliers": ("auroc.top", "auroc.combined"),
    "cluster": ("dunn", "davies_bouldin", "clusters"),
    "sample": ("diversity", "near_duplicates", "ndb"),
    "sharpen": ("log_likelihood",),
}
# Last part of a result's name (or what it contains) -> whether more of it is better.
_BETTER_HIGH = ("log_likelihood", "auroc", "average_precision", "dunn", "diversity", "purity", "accuracy")
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
        return self.settings[column] if column in self.settings else self.results.get(column)


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    columns: list[str]
    rows: list[list[Cell]]


def find_runs(paths: Sequence[str]) -> list[Run]:
    """All run directories at and under the given ones, each once, in the order of their paths.

    Links are not followed: `latest` is no run of its own.

    Raises:
        UserError: a path is no directory, or there is no run under any.
    """
    found: dict[Path, Run] = {}
    for path in paths:
        if not Path(path).is_dir():
            raise UserError(f"{path} is no directory; give the directories that hold the runs")
        for directory in _run_directories(path):
            if directory not in found:
                found[directory] = _read(directory, found)
    if not found:
        raise UserError(f"there is no run under {', '.join(paths)}; start one with `dcgmm train`")
    # Models that were trained side by side have run directories of their own.
    return [run for run in found.values() if REPLICAS not in run.results]


def _run_directories(top: str) -> Iterator[Path]:
    """Directories with the marks of a run, parents before what lies in them."""
    for directory, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        if META in files or RESULT in files:
            yield Path(directory)


def _read(directory: Path, known: dict[Path, Run]) -> Run:
    result, meta = _content(directory / RESULT), _content(directory / META)
    parent = _parent(directory, known)
    command = (result or {}).get("command") or _command(directory, parent)
    results = {**_flat(result or {}), "command": command}
    if not result:
        results["status"] = "damaged" if result is None or meta is None else "running or killed"
    settings = _settings((meta or {}).get("config") or _composed(directory))
    if parent is not None:
        if "seed" in settings:
            settings[f"{command}.seed"] = settings.pop("seed")
        settings |= {key: value for key, value in parent.settings.items() if key not in settings}
    return Run(directory, settings, results)


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
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _parent(directory: Path, known: dict[Path, Run]) -> Run | None:
    """The training run that a follow-up command worked on: it writes to <run>/<command>/<name>/."""
    above = directory.parent.parent
    if directory.parent.name == REPLICAS or not (above in known or (above / META).is_file()):
        return None
    return known.get(above) or _read(above, known)


def _command(directory: Path, parent: Run | None) -> str:
    return TRAIN if parent is None else directory.parent.name


def _settings(config: dict[str, Any]) -> dict[str, Cell]:
    """A configuration as columns; `arch` and `dataset` are their names."""
    settings = _flat(config)
    for group in ("arch", "dataset"):
        if f"{group}.name" in settings:
            settings[group] = settings.pop(f"{group}.name")
    if "arch.layers" in settings:
        settings["arch.layers"] = _notation(settings["arch.layers"])
    return settings


def _notation(layers: Cell) -> str:
    """Layers as the paper writes them: F(7,7,3,3) G(25) P(2,2)."""
    words = []
    for layer in layers:
        numbers = [*(layer.get("kernel") or ()), *(layer.get("stride") or ()), layer.get("components")]
        words.append(f"{str(layer.get('type'))[0].upper()}({','.join(str(size) for size in numbers if size)})")
    return " ".join(words)


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Cell]:
    """Nested dictionaries as one with dotted keys."""
    flat: dict[str, Cell] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = value
    return flat


def matching(runs: list[Run], where: Sequence[str]) -> list[Run]:
    """The runs that meet all conditions `column=value`; several values with commas between are alternatives.

    Raises:
        UserError: a condition is none, or no run has its column.
    """
    for condition in where:
        column, separator, wanted = condition.partition("=")
        if not separator:
            raise UserError(f"{condition!r} is no condition; give one as in status=failed")
        _check_columns([column], runs)
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
    stacks = {(run.settings.get("arch"), run.settings.get("arch.layers")) for run in runs}
    return len({name for name, _ in stacks}) < len(stacks)


def _differs(runs: list[Run], key: str) -> bool:
    return len({_text(run.settings.get(key)) for run in runs}) > 1


def _union(rows: Iterable[dict[str, Cell]]) -> dict[str, None]:
    return {key: None for row in rows for key in row}


def _check_columns(columns: Sequence[str], runs: list[Run]) -> None:
    known = {"run", *_union(run.settings for run in runs), *_union(run.results for run in runs)}
    for column in columns:
        if column not in known:
            close = difflib.get_close_matches(column, known, 3)
            hint = f"did you mean {' or '.join(close)}?" if close else "columns=all shows what there is"
            raise UserError(f"no run here has {column}: {hint}")


def group(runs: list[Run], over: Sequence[str], columns: Sequence[str] | str | None) -> Table:
    """A row each set of runs that differ in the settings `over` only, with statistics of their results.

    For each numeric result: mean, sample deviation, and worst and best, where it is known which end is better; else
    least and largest. Runs that have not finished are left out, and counted.

    Raises:
        UserError: no run has a column.
    """
    _check_columns(over, runs)
    left_out = (*over, *_INCIDENTAL, *(key for key in _union(run.settings for run in runs) if key.endswith(".seed")))
    groups: dict[str, list[Run]] = {}
    for run in runs:
        kept = {key: _text(value) for key, value in run.settings.items() if key not in left_out}
        groups.setdefault(json.dumps([run.results["command"], kept], sort_keys=True), []).append(run)
    first = [members[0] for members in groups.values()]
    finished = [run for run in runs if run.cell("status") == "finished"]
    chosen = [column for column in _columns(runs, columns) if column != "run" and column not in left_out]
    measures = [column for column in chosen if column not in ("status", "error") and _is_measured(column, finished)]
    facts = [column for column in chosen if column not in (*measures, "status", "error")]
    facts = [column for column in facts if column in _NAMES or _differs(first, column)]
    head = [*facts, "runs", *(["unfinished"] if len(finished) < len(runs) else [])]
    names = [f"{column} {statistic}" for column in measures for statistic in _statistics(column)]
    rows = []
    for members in groups.values():
        done = [run for run in members if run.cell("status") == "finished"]
        counts = [len(done), *([len(members) - len(done)] if len(finished) < len(runs) else [])]
        cells = [cell for column in measures for cell in _summary(column, [run.cell(column) for run in done])]
        rows.append([*(members[0].cell(column) for column in facts), *counts, *cells])
    return Table([*head, *names], rows)


def _is_measured(column: str, runs: list[Run]) -> bool:
    values = [run.results[column] for run in runs if run.results.get(column) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _direction(column: str) -> int:
    """1 where more of a result is better, -1 where less is, 0 where that is not known."""
    for names, direction in ((_BETTER_LOW, -1), (_BETTER_HIGH, 1)):
        if any(re.search(rf"(^|[._]){re.escape(name)}($|[._])", column) for name in names):
            return direction
    return 0


def _statistics(column: str) -> tuple[str, ...]:
    return ("mean", "deviation", "worst", "best") if _direction(column) else ("mean", "deviation", "least", "largest")


def _summary(column: str, values: list[Cell]) -> list[float | None]:
    numbers = sorted(float(value) for value in values if value is not None)
    if not numbers:
        return [None] * 4
    deviation = stdev(numbers) if len(numbers) > 1 else None
    ends = (numbers[-1], numbers[0]) if _direction(column) < 0 else (numbers[0], numbers[-1])
    return [fmean(numbers), deviation, *ends]


def ordered(table: Table, by: str) -> Table:
    """Rows in the order of a column, from large to small with a minus before its name; missing values last.

    Raises:
        UserError: the table has no such column.
    """
    descending, column = by.startswith("-"), by.removeprefix("-")
    if column not in table.columns:
        close = difflib.get_close_matches(column, table.columns, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"its columns are {', '.join(table.columns)}"
        raise UserError(f"sort={by}: the table has no column {column}; {hint}")
    place = table.columns.index(column)
    there = [row for row in table.rows if row[place] is not None]
    # Numbers before texts: they cannot be compared with each other.
    there.sort(key=lambda row: (isinstance(row[place], str), _sortable(row[place])), reverse=descending)
    return Table(table.columns, [*there, *(row for row in table.rows if row[place] is None)])


def _sortable(value: Cell) -> Any:
    return value if isinstance(value, str | int | float) else str(value)


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
    numeric = _numeric(table)
    lines = [table.columns, ["---:" if number else "---" for number in numeric]]
    lines += [[rounded(cell).replace("|", r"\|").replace("\n", " ") for cell in row] for row in table.rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _numeric(table: Table) -> list[bool]:
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
