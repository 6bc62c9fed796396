"""Runs side by side: settings and figures that differ, curves over each other, pictures beside each other."""

import statistics
from collections.abc import Iterable, Sequence

from dcgmm_cli.headlines import headlines, higher_is_better
from dcgmm_cli.records import read_metrics
from dcgmm_cli.reports.content import Block, Curves, Grid, Note, Picture, Pictures, Report
from dcgmm_cli.reports.facts import better, figures, spread
from dcgmm_cli.reports.pictures import pictures_of
from dcgmm_cli.reports.sides import Side, differing
from dcgmm_cli.results.reading import meta_of
from dcgmm_cli.results.selecting import NAMES

_PARTS = (0.1, 0.25, 0.5, 0.75, 1.0)  # of a training, at which its curves are read off
_OWN = {"run", "error", "density.reason", "data_source"}  # settings and results that say which run it is


def comparison(sides: Sequence[Side]) -> Report:
    """All in which the sides differ."""
    report = Report(" and ".join(side.name for side in sides) if len(sides) == 2 else f"{len(sides)} runs compared")
    report.add("Runs", _names(sides))
    report.add("Settings that differ", _settings(sides))
    report.add("Models", _models(sides))
    strange = _strange(sides)
    figures_of = _figures("Figures of the training", sides, _numbers(sides), strange)
    report.add("Figures that differ", figures_of, *map(Note, strange.values()))
    commands = list(dict.fromkeys(command for side in sides for command in side.follow_ups))
    for command in commands:
        report.add(f"dcgmm {command}", *_done([side.done(command) for side in sides], command, strange))
    report.add("Curves", *_curves(sides))
    report.add("Pictures", *_pictures(sides, commands))
    return report


def _grid(caption: str, first: str, sides: Sequence[Side], rows: list[list[str]], *more: str) -> Grid | None:
    columns = [first, *(side.letter for side in sides), *more]
    return Grid(caption, columns, rows, [False, *(True for _ in sides), *(False for _ in more)]) if rows else None


def _names(sides: Sequence[Side]) -> Grid:
    rows = []
    for side in sides:
        times = sorted(run.date for run in side.runs if run.date)
        status = ", ".join(dict.fromkeys(str(run.results["status"]) for run in side.runs))
        rows.append([side.letter, side.name, side.setting("seed"), status, times[0] if times else ""])
    return Grid("What is compared", ["", "run", "seed", "status", "started"], rows)


def _settings(sides: Sequence[Side]) -> Block:
    keys = sorted((key for key in differing(sides) if key not in _OWN), key=lambda key: key not in NAMES)
    rows = [[key, *(side.setting(key) for side in sides)] for key in keys]
    return Grid("Settings that differ", ["setting", *(side.letter for side in sides)], rows) if rows else Note("none")


def _models(sides: Sequence[Side]) -> Grid | None:
    totals = [_totals(side) for side in sides]
    keys = [key for key in ("parameters", "flops") if all(key in total for total in totals)]
    named = {"parameters": "parameters", "flops": "FLOPs an image"}
    rows = [[named[key], *(f"{each[key]:,}" for each in totals)] for key in keys]
    return _grid("Size of the models", "", sides, rows)


def _totals(side: Side) -> dict[str, int]:
    layers = meta_of(side.runs[0].directory).get("layers")
    if not isinstance(layers, list):
        return {}
    return {key: sum(layer[key] for layer in layers) for key in ("parameters", "flops")}


def _numbers(sides: Sequence[Side]) -> list[str]:
    return list(dict.fromkeys(column for side in sides for run in side.runs for column in figures(run)))


def _strange(sides: Sequence[Side]) -> dict[str, str]:
    """Beginnings of figures that do not say which side is better, and why."""
    keys = differing(sides)
    if any(key.startswith("dataset") for key in keys):
        return {"": "trained on different images: no figure says which is better"}
    if any(key.startswith("arch.") for key in keys):
        why = "each layer sees what those under it make of the image, so they say nothing between architectures"
        return {"layers.": f"log-likelihoods of layers: {why}"}
    return {}


def _figures(caption: str, sides: Sequence[Side], columns: Sequence[str], strange: Iterable[str]) -> Grid | None:
    rows = []
    for column in columns:
        values = [side.values(column) for side in sides]
        cells = [spread(numbers) for numbers in values]
        if len({cell for cell in cells if cell}) > 1 or (higher_is_better(column) is not None and [] in values):
            judged = column.endswith("seconds") or not column.startswith(tuple(strange))
            best = _best(sides, values, higher_is_better(column)) if judged else ""
            rows.append([column, *cells, better(column), best])
    return _grid(caption, "figure", sides, rows, "better", "best")


def _best(sides: Sequence[Side], values: Sequence[Sequence[float]], higher: bool | None) -> str:
    """The side whose mean is best, and whether another is as good within the seeds' spread."""
    there = [(statistics.fmean(numbers), numbers, side) for side, numbers in zip(sides, values, strict=True) if numbers]
    if higher is None or len(there) < 2:
        return ""
    first, second, *_ = sorted(there, key=lambda each: each[0], reverse=higher)
    if first[0] == second[0]:
        return ""
    spreads = [statistics.stdev(numbers) for _, numbers, _ in (first, second) if len(numbers) > 1]
    near = spreads and abs(first[0] - second[0]) <= max(spreads)
    return f"{first[2].letter}, within a deviation" if near else first[2].letter


def _done(sides: Sequence[Side], command: str, strange: Iterable[str]) -> list[Block]:
    """Figures of a follow-up command, where several sides have them; and whether it was asked the same."""
    there = [side for side in sides if side.runs]
    if len(there) < 2:
        return [Note(f"of {there[0].letter} alone")]
    trained = {key for side in sides for run in side.runs for key in run.settings if _is_training(key)}
    asked = [key for key in differing(there) if key not in _OWN | trained]
    # Only answers to one question can be better or worse.
    grid = _figures(f"Figures of {command}", sides, headlines([command], _numbers(sides)), [""] if asked else strange)
    note = [Note(f"asked differently, so that none is better: {', '.join(asked)}")] if asked else []
    return [grid or Note("no difference in the main figures"), *note]


def _is_training(key: str) -> bool:
    """Whether a follow-up has a setting of the training run: that is told already."""
    return key == "seed" or key.startswith(("arch", "dataset", "gmm.", "trainer."))


def _curves(sides: Sequence[Side]) -> list[Block | None]:
    measured = {side.letter: _measurements(side) for side in sides}
    layers = list(dict.fromkeys(layer for lines in measured.values() for layer in lines))
    blocks: list[Block | None] = []
    for layer in layers:
        lines = [(side, *measured[side.letter][layer]) for side in sides if layer in measured[side.letter]]
        title = f"log-likelihood of {layer} in training"
        named = [(f"{side.letter}: {side.name}", epochs, values) for side, epochs, values in lines]
        blocks.append(Curves(title, "epoch", "nats a position", named))
        shortest = min(epochs[-1] for _, epochs, _ in lines)
        rows = [
            [f"{part * shortest:.3g}", *(_at(measured[side.letter].get(layer), part * shortest) for side in sides)]
            for part in _PARTS
        ]
        blocks.append(_grid(title, "epoch", sides, rows))
    return blocks


def _measurements(side: Side) -> dict[str, tuple[list[float], list[float]]]:
    """By layer epochs and log-likelihoods: means over runs that were measured at the same steps, else of the first."""
    every = [read_metrics(run.directory) for run in side.runs]
    first = every[0]
    same = [lines for lines in every if [line["step"] for line in lines] == [line["step"] for line in first]]
    epochs = [float(line["epoch"]) for line in first]
    layers = list(first[0]["layers"]) if first else []

    def mean(layer: str, number: int) -> float:
        return statistics.fmean(lines[number]["layers"][layer]["log_likelihood"] for lines in same)

    return {layer: (epochs, [mean(layer, number) for number in range(len(first))]) for layer in layers}


def _at(line: tuple[list[float], list[float]] | None, epoch: float) -> str:
    """A curve's value at an epoch: a mean over a twentieth of the training before it, as single batches scatter."""
    if line is None:
        return ""
    epochs, values = line
    width = max(epochs[-1] / 20, 0.0)
    near = [value for place, value in zip(epochs, values, strict=True) if epoch - width <= place <= epoch]
    return spread([statistics.fmean(near)]) if near else ""


def _pictures(sides: Sequence[Side], commands: Sequence[str]) -> list[Block]:
    """Pictures of the same name side by side, those of the first run of each side."""
    blocks: list[Block] = []
    for kind in ("", *commands):
        shown = sides if not kind else [side.done(kind) for side in sides]
        there: dict[str, list[Picture]] = {}
        for side in shown:
            for picture in pictures_of(side.runs[0].directory) if side.runs else []:
                there.setdefault(picture.path.name, []).append(Picture(picture.path, f"{side.letter}: {picture.alt}"))
        blocks += [Pictures(pictures) for pictures in there.values()]
    return blocks
