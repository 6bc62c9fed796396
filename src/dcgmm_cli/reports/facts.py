"""What a run was, read off its directory."""

import contextlib
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcgmm.files import TEMPORARY
from dcgmm_cli.headlines import headlines, higher_is_better, rounded
from dcgmm_cli.records import LOCK
from dcgmm_cli.reports.content import Block, Code, Detail, Files, Grid, Note, Pairs, Pictures, Report
from dcgmm_cli.reports.pictures import pictures_of
from dcgmm_cli.reports.repeat import command_to_repeat, settings_beside_defaults
from dcgmm_cli.results.formats import rounded as shown
from dcgmm_cli.results.reading import TRAIN, Run, find_runs, local_time, meta_of, notation, read_run
from dcgmm_cli.runs import REPLICAS
from dcgmm_cli.schema import SCHEMAS

Facts = Mapping[str, Any]
_LONGEST = 12  # a list of results with more values is for result.json alone


def report_of(directory: Path) -> Report:
    """All that a run directory tells, training or follow-up, whole or not."""
    run, meta = read_run(directory), meta_of(directory)
    below = [each for each in find_runs([str(directory)]) if each.directory != directory]
    replicas = [each for each in below if each.directory.parent == directory / REPLICAS]
    others = [each for each in below if each.results["command"] != TRAIN]
    report = Report(f"{run.results['command']} {name_of(directory)}")
    report.add("Run", Pairs(_about(directory, run, meta)))
    report.add("Layers", *_layers(meta))
    report.add("Settings that differ from the defaults", _settings(str(run.results["command"]), meta))
    report.add("Data", *_data(run, meta))
    report.add("Figures", *_figures(run), _replicas(replicas))
    report.add("Pictures", _pictures(directory))
    report.add("What was done with it", *_others(directory, others))
    report.add("To repeat it", *_commands(str(run.results["command"]), meta))
    report.add("Files", Files(directory, _sizes(directory)))
    return report


def name_of(directory: Path) -> str:
    """A run's directory with the one that it lies in, as `run=` takes it."""
    return f"{directory.parent.name}/{directory.name}"


def _about(directory: Path, run: Run, meta: Facts) -> list[tuple[str, str]]:
    results, starts = run.results, meta.get("starts") or []
    git = meta.get("git") or {}
    versions = {"dcgmm": meta.get("dcgmm"), "python": meta.get("python"), **(meta.get("packages") or {})}
    found = {
        "directory": str(directory),
        "status": results.get("status"),
        "error": results.get("error"),
        "started": _times([start.get("time") for start in starts]),
        "training": _training_time(results, len(starts)),
        "whole command": f"{results['seconds']:,.1f} s" if _is_number(results.get("seconds")) else None,
        "device": ", ".join(dict.fromkeys(str(start["device"]) for start in starts if "device" in start)),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "commit": f"{git.get('sha')}{', with changes' if git.get('dirty') else ''}" if git else None,
        "density": _density(results),
    }
    return [(name, str(text)) for name, text in found.items() if text]


def _times(starts: Sequence[Any]) -> str:
    times = [time for time in map(local_time, starts) if time]
    return times[0] + (f" and {len(times) - 1} more, the last {times[-1]}" if len(times) > 1 else "") if times else ""


def _training_time(results: Facts, starts: int) -> str | None:
    if not _is_number(results.get("train_seconds")):
        return None
    counts = f"{results['steps']:,} steps, {results.get('epochs')} epochs" if _is_number(results.get("steps")) else ""
    over = f" over {starts} starts" if starts > 1 else ""
    return f"{results['train_seconds']:,.1f} s{over}{f' for {counts}' if counts else ''}"


def _density(results: Facts) -> str | None:
    if (reason := results.get("density.reason")) is not None:
        return f"none of the image: {reason}"
    nats, bits = (results.get(f"density.{name}") for name in ("nats", "bits_per_dimension"))
    return f"{nats:.2f} nats, {bits:.3f} bits per dimension" if _is_number(nats) and _is_number(bits) else None


def _layers(meta: Facts) -> list[Block]:
    layers = meta.get("layers")
    if not isinstance(layers, list):  # a run of before they were written
        described = ((meta.get("config") or {}).get("arch") or {}).get("layers") or []
        return [Note(" ".join(notation(layer) for layer in described))] if described else []
    rows = [
        [
            *(str(layer[key]) for key in ("name", "layer")),
            *("x".join(map(str, layer[key])) for key in ("input_shape", "output_shape")),
            *(f"{layer[key]:,}" for key in ("positions", "parameters", "flops")),
        ]
        for layer in layers
    ]
    totals = [f"{sum(layer[key] for layer in layers):,}" for key in ("parameters", "flops")]
    rows.append(["all", "", "", "", "", *totals])
    columns = ["layer", "written", "takes", "gives", "positions", "parameters", "FLOPs an image"]
    return [Grid("Layers", columns, rows, [False, False, True, True, True, True, True])]


def _settings(command: str, meta: Facts) -> Block | None:
    config = meta.get("config")
    if not isinstance(config, Mapping) or command not in SCHEMAS:
        return None
    differing = settings_beside_defaults(command, config)
    pairs = [(name, _setting(value)) for name, value in differing.items() if name != "run"]
    return Pairs(pairs) if pairs else Note("none")


def _setting(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return " ".join(notation(layer) for layer in value)
    return shown(value)


def _data(run: Run, meta: Facts) -> list[Block]:
    data, results = meta.get("data") or {}, run.results
    name = ((meta.get("config") or {}).get("dataset") or {}).get("name")
    if name is None:
        return []
    counts = [data.get(part, results.get(f"{part}_images")) for part in ("train", "test")]
    found = {
        "data set": name,
        "from": data.get("source", results.get("data_source")),
        "images": " training, ".join(f"{count:,}" for count in counts) + " test"
        if all(map(_is_number, counts))
        else None,
        "size": "x".join(map(str, data["image_shape"])) if "image_shape" in data else None,
    }
    classes = data.get("classes")
    rows = [
        [str(each["label"]), str(each["name"]), f"{each['train']:,}", f"{each['test']:,}"] for each in classes or []
    ]
    grid = Grid("Images of each class", ["class", "name", "training", "test"], rows, [True, False, True, True])
    return [Pairs([(key, str(text)) for key, text in found.items() if text]), *([grid] if rows else [])]


def figures(run: Run) -> dict[str, float]:
    """A run's results that are numbers, by column."""
    return {column: value for column, value in run.results.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figures(run: Run) -> list[Block]:
    numbers = figures(run)
    parts = [column.split(".", 2)[1:] for column in numbers if re.match(r"layers\..*\.", column)]
    layers, kinds = (list(dict.fromkeys(part[place] for part in parts)) for place in (0, 1))
    grid: list[Block] = []
    if layers:
        cells = [[_cell(numbers.get(f"layers.{layer}.{kind}")) for kind in kinds] for layer in layers]
        head = ["layer", *(kind.replace("_", " ") for kind in kinds)]
        rows = [[layer, *row] for layer, row in zip(layers, cells, strict=True)]
        grid = [Grid("Figures of each layer", head, rows, [False, *(True for _ in kinds)])]
    main = headlines([str(run.results["command"])], numbers)
    rows = [[column, _cell(numbers[column]), better(column)] for column in main if not column.startswith("layers.")]
    if rows:
        grid.append(Grid("Main figures", ["figure", "value", "better"], rows, [False, True, False]))
    rows = [[column, _result(value), better(column)] for column, value in run.results.items() if _is_short(value)]
    grid.append(Detail("All results", [Grid("All results", ["result", "value", "better"], rows)]))
    return grid


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else rounded(value)


def _result(value: Any) -> str:
    return _cell(value) if _is_number(value) else shown(value)


def _is_short(value: Any) -> bool:
    return value is not None and (not isinstance(value, list) or len(value) <= _LONGEST)


def better(column: str) -> str:
    """Which end of a figure is better, in a word; empty where neither is."""
    return {True: "higher", False: "lower", None: ""}[higher_is_better(column)]


def _replicas(runs: Sequence[Run]) -> Block | None:
    if not runs:
        return None
    columns = headlines([TRAIN], dict.fromkeys(column for run in runs for column in figures(run)))
    rows = [[run.directory.name, *(_cell(figures(run).get(column)) for column in columns)] for run in runs]
    values = [[figures(run)[column] for run in runs if column in figures(run)] for column in columns]
    rows.append(["mean ± deviation", *(spread(numbers) for numbers in values)])
    return Grid("Models trained side by side", ["model", *columns], rows, [False, *(True for _ in columns)])


def spread(numbers: Sequence[float]) -> str:
    """Mean of some numbers, with their deviation where there are several."""
    if not numbers:
        return ""
    if len(set(numbers)) == 1:
        return _cell(numbers[0])
    return f"{rounded(statistics.fmean(numbers))} ± {rounded(statistics.stdev(numbers))}"


def _pictures(directory: Path) -> Block | None:
    found = pictures_of(directory)
    return Pictures(found) if found else None


def _others(directory: Path, runs: Sequence[Run]) -> list[Block]:
    """Follow-ups: a table, and on a page each with its pictures, the newest of each command open."""
    newest = {run.results["command"]: run for run in sorted(runs, key=lambda run: run.directory.name)}
    rows = [[str(run.results["command"]), run.directory.name, str(run.results["status"]), _main(run)] for run in runs]
    blocks: list[Block] = [Grid("Follow-ups", ["command", "name", "status", "main figures"], rows)] if rows else []
    for run in sorted(runs, key=lambda run: run.directory.name, reverse=True):
        meta = meta_of(run.directory)
        command = str(run.results["command"])
        inner = [_settings(command, meta), _pictures(run.directory), *_figures(run)]
        title = f"{command} {run.directory.relative_to(directory)}"
        blocks.append(Detail(title, [block for block in inner if block], newest[command] is run))
    return blocks


def _main(run: Run) -> str:
    numbers = figures(run)
    return ", ".join(f"{name} {_cell(numbers[name])}" for name in headlines([str(run.results["command"])], numbers))


def _commands(command: str, meta: Facts) -> list[Block]:
    config = meta.get("config")
    again = [Code(command_to_repeat(command, config))] if isinstance(config, Mapping) and command in SCHEMAS else []
    typed = [" ".join(map(str, start.get("argv") or [])) for start in meta.get("starts") or []]
    return [*again, *(Note(f"typed: {line}") for line in dict.fromkeys(typed) if line)]


def _sizes(directory: Path) -> dict[Path, int]:
    """All files of a run, those of what was done with it last; what commands need while at work is left out."""
    found = dict[Path, int]()
    for folder, _, names in os.walk(directory):
        for path in (Path(folder, name) for name in names if name != LOCK and not name.endswith(TEMPORARY)):
            with contextlib.suppress(OSError):  # it was removed just now
                if path.is_file():
                    found[path] = path.stat().st_size
    return dict(sorted(found.items(), key=lambda item: (len(item[0].relative_to(directory).parts) > 2, item[0])))
