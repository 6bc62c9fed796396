"""Runs as rows: settings and results by column.

A row is one run directory, flattened: `arch` and `dataset` are names, other columns are dotted keys of the
configuration (`trainer.epochs`) or of the results (`layers.gmm1.test_log_likelihood`, `auroc.top`).
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError
from dcgmm.files import read_json
from dcgmm.model.options import LayerOptions
from dcgmm_cli.keys import flat
from dcgmm_cli.records import is_at_work
from dcgmm_cli.runs import META, REPLICAS, RESULT, training_of
from dcgmm_cli.yaml_files import read_yaml

Cell = Any  # a number, a text, a truth value, a list of such, or None where a run has no such thing

TRAIN = "train"
# What is no run directory, and holds none.
_SKIPPED = {"checkpoints", "figures", ".hydra", ".submitit"}
_LARGEST = 1e300  # in size, of a number that can be computed with
# A run that has no result yet, by whether a process is at work in it.
_OPEN = {True: "running", False: "killed", None: "running or killed"}


@dataclass(frozen=True)
class Run:
    """A run directory as a row: settings and results by column."""

    directory: Path
    settings: dict[str, Cell]  # of the training run for follow-up commands too, their own seed as <command>.seed
    results: dict[str, Cell]  # with `status`
    date: str | None = None  # when it first started, in the local zone, as in 2026-01-31 23:59

    def cell(self, column: str) -> Cell:
        """The run's value in a column; None where it has none."""
        if column == "run":
            return str(self.directory)
        if column == "date":
            return self.date
        setting = self.settings.get(column)
        return self.results.get(column) if setting is None else setting


def find_runs(paths: Sequence[str]) -> list[Run]:
    """All run directories at and under the given ones, each once, in the order of their paths.

    Links below them are not followed: `latest` is no run of its own.

    Raises:
        InputError: a path is no directory, or there is no run under any.
    """
    found: dict[Path, Run] = {}
    for path in paths:
        if not Path(path).is_dir():
            raise InputError(f"{path} is no directory; give the directories that hold the runs")
        # The same directory can be given twice, under names that differ.
        top = Path(path).resolve()
        for directory in _run_directories(top):
            if directory not in found:
                found[directory] = _read(directory, Path(path) / directory.relative_to(top), found)
    if not found:
        raise InputError(f"there is no run under {', '.join(paths)}; start one with `dcgmm train`")
    # Models that were trained side by side have run directories of their own.
    return [run for run in found.values() if not isinstance(run.results.get(REPLICAS), list)]


def read_run(directory: Path) -> Run:
    """One run directory as a row."""
    return _read(directory, directory, {})


def _run_directories(top: Path) -> Iterator[Path]:
    """Directories with the marks of a run, parents before what lies in them."""
    for directory, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        if META in files or RESULT in files:
            yield Path(directory)


def _read(directory: Path, shown: Path, known: dict[Path, Run]) -> Run:
    result, meta = content_of(directory / RESULT), content_of(directory / META)
    results = _flat(result or {})
    if not isinstance(results.get("status"), str):
        is_open = result is not None and meta is not None and not (directory / RESULT).exists()
        results["status"] = _open_status(directory) if is_open else "damaged"
    config = (meta or {}).get("config")
    settings = _settings(config if isinstance(config, dict) else _composed(directory))
    command = results.get("command")
    if not isinstance(command, str):
        command = results["command"] = _writable(_command(directory, meta or {}))
    parent = None if command == TRAIN else _parent(directory, settings.get("run"), known)
    if parent is not None:
        if "seed" in settings:
            settings[f"{command}.seed"] = settings.pop("seed")
        settings |= {key: value for key, value in parent.settings.items() if settings.get(key) is None}
    return Run(shown, settings, results, _date(directory, meta or {}))


def _open_status(directory: Path) -> str:
    """Status of a run without a result; of one of several models side by side it is that of all."""
    try:
        together = training_of(directory)
    except InputError:  # the result of all is damaged
        together = directory
    status = (content_of(together / RESULT) or {}).get("status")
    return status if isinstance(status, str) else _OPEN[is_at_work(together)]


def _date(directory: Path, meta: dict[str, Any]) -> str | None:
    """When a run first started: as it says, else by its name."""
    starts = meta.get("starts")
    first = starts[0] if isinstance(starts, list) and starts else None
    told = local_time(first.get("time")) if isinstance(first, dict) else None
    named = re.match(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-\d\d-", directory.name)
    return told or (f"{named[1]} {named[2]}:{named[3]}" if named else None)


def local_time(text: Any) -> str | None:
    """A time as `meta.json` has it, in the local zone to the minute; None where it is none."""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"
    except (TypeError, ValueError):
        return None


def content_of(path: Path) -> dict[str, Any] | None:
    """A JSON file's content, empty where there is no such file; None where it is damaged."""
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except InputError:
        return None


def meta_of(directory: Path) -> dict[str, Any]:
    """What a run's `meta.json` says; a part that is not as we write it is left out, as all is of a damaged file."""
    content = content_of(directory / META) or {}
    return {key: value for key, value in content.items() if key not in _FORMS or _FORMS[key](value)}


def _holds(value: Any, **kinds: type) -> bool:
    """Whether a value is an object whose parts, as far as they are there, are of these kinds."""
    return isinstance(value, dict) and all(isinstance(value.get(key, kind()), kind) for key, kind in kinds.items())


def _all_hold(values: Any, needed: Sequence[str] = (), **kinds: type) -> bool:
    return isinstance(values, list) and all(_holds(each, **kinds) and each.keys() >= {*needed} for each in values)


_LAYER: dict[str, type] = {"input_shape": list, "output_shape": list, "positions": int, "parameters": int, "flops": int}
_CLASS: dict[str, type] = {"train": int, "test": int}
_FORMS: dict[str, Callable[[Any], bool]] = {
    "starts": lambda starts: _all_hold(starts, argv=list),
    "layers": lambda layers: _all_hold(layers, ["name", "layer", *_LAYER], **_LAYER),
    "config": lambda config: _holds(config, arch=dict, dataset=dict),
    "data": lambda data: (
        _holds(data, image_shape=list, classes=list, train=int, test=int)
        and _all_hold(data.get("classes", []), ["label", "name", *_CLASS], **_CLASS)
    ),
    "git": lambda git: git is None or isinstance(git, dict),
    "packages": lambda packages: isinstance(packages, dict),
}


def _composed(directory: Path) -> dict[str, Any]:
    """Hydra's record of a configuration: all that a run leaves that failed before it began."""
    try:
        content = read_yaml(directory / ".hydra" / "config.yaml")
    except InputError:
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
    """The command whose result is not there: of its start, else by its place, <run>/<command>/<name>/."""
    if isinstance(command := meta.get("command"), str):
        return command
    in_run = directory.parent.name != REPLICAS and (directory.parent.parent / META).is_file()
    return directory.parent.name if in_run else TRAIN


def _settings(config: dict[str, Any]) -> dict[str, Cell]:
    """A configuration as columns; `arch` and `dataset` are their names, layers as the paper writes them."""
    settings = _flat(config)
    for group in ("arch", "dataset"):
        if f"{group}.name" in settings:
            settings[group] = settings.pop(f"{group}.name")
    if isinstance(layers := settings.get("arch.layers"), list):
        settings["arch.layers"] = " ".join(map(notation, layers))
    return settings


def notation(layer: Cell) -> str:
    """A layer as the paper writes it; what is none as it is."""
    try:
        return str(LayerOptions(**layer))
    except (InputError, TypeError):  # what is damaged is shown as it is
        return str(layer)


def _flat(content: dict[str, Any]) -> dict[str, Cell]:
    return {_writable(key): _finite(value) for key, value in flat(content).items()}


def _writable(text: str) -> str:
    """A text as it can be written: half a surrogate pair can be in JSON, but in no file."""
    return text.encode(errors="backslashreplace").decode()


def _finite(value: Cell) -> Cell:
    """None in place of what is no number: it has no order and no place in JSON."""
    if isinstance(value, list):
        return [_finite(part) for part in value]
    if isinstance(value, str):
        return _writable(value)
    return None if isinstance(value, int | float) and not abs(value) <= _LARGEST else value


def as_text(value: Cell) -> str:
    """A value as it would be given in a condition."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
