"""The page of the benchmark: tables and a picture, from the collected rows alone."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from dcgmm.files import write_text
from dcgmm.outliers.options import VOTE
from experiments.benchmark.configuration import ARCHITECTURES, MEMBERS
from experiments.benchmark.corruptions import STRENGTHS
from experiments.benchmark.peers import PEERS
from experiments.benchmark.pictures import per_class
from experiments.benchmark.tasks import CLASSES, DATASETS, GROUPS
from experiments.paper.document import Page
from experiments.paper.estimates import mean_interval
from experiments.paper.formats import mean_text
from experiments.paper.items import Item, Row, write_item
from experiments.paper.pictures import save_figure

ITEM, PAGE = "results", "figures.md"
UNSEEN = tuple(range(CLASSES // 2, CLASSES))  # classes that no choice has seen
TITLES = {VOTE: f"**vote of {' and '.join(MEMBERS)}**"} | {name: peer.title for name, peer in PEERS.items()}


def write_report(item: Item, out: Path, *, quick: bool) -> None:
    """Write results.csv, results.json, per-class.png and figures.md."""
    out.mkdir(parents=True, exist_ok=True)
    write_item(out, ITEM, item)
    if any(row["group"] == "one" for row in item.rows):
        save_figure(per_class(item.rows), out / "per-class.png")
    write_text(out / PAGE, _page(item.rows, quick))


def _page(rows: Sequence[Row], quick: bool) -> str:
    page = Page()
    page.heading(1, "Outlier detectors on the field's tasks: figures")
    page.text("Areas under the ROC curve; the protocol stands in [the study's README](README.md).")
    if quick:
        page.text("**The quick run, on the bundled samples: it shows the path, its figures mean nothing.**")
    seeds = sorted({row["seed"] for row in rows})
    page.text(f"Seeds: {', '.join(map(str, seeds))}. A mean over tasks stands only where all of them were run.")
    for group in GROUPS:
        _group(page, rows, group)
    _architectures(page, rows)
    _intervals(page, rows)
    _per_class(page, rows)
    _costs(page, rows)
    return page.markdown()


def _methods(rows: Iterable[Row]) -> list[str]:
    """The vote, its members' scores, and peers."""
    there = {row["method"] for row in rows if row["method"].split()[0] not in ARCHITECTURES}
    own = [name for name in dict.fromkeys(row["method"] for row in rows) if name in there - {VOTE, *PEERS}]
    return [name for name in (VOTE, *own, *PEERS) if name in there]


def title(method: str) -> str:
    """A method's name in tables."""
    return TITLES.get(method, method)


def means(rows: Iterable[Row], method: str, tasks: Sequence[str], group: str) -> list[float]:
    """Means over tasks, by seed; of seeds in which all of them were run."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["method"] == method and row["group"] == group and row["task"] in tasks:
            found.setdefault(row["seed"], {})[row["task"]] = row["auroc"]
    return [statistics.fmean(values.values()) for values in found.values() if len(values) == len(tasks)]


def columns(rows: Iterable[Row], group: str) -> dict[str, list[str]]:
    """Tasks by the head of a table's column."""
    if group == "one":
        found: dict[str, list[str]] = {}
        for name, label in DATASETS.items():
            found[f"{label}, mean of ten"] = [f"{name}-{each}" for each in range(CLASSES)]
            found[f"{label}, of 5 to 9"] = [f"{name}-{each}" for each in UNSEEN]
        return found
    tasks = list(dict.fromkeys(row["task"] for row in rows if row["group"] == group))
    if group == "corrupted":
        return {f"{DATASETS[task.split()[0]]}, {task.split()[1]}": [task] for task in tasks}
    return {task: [task] for task in tasks}


def _group(page: Page, rows: Sequence[Row], group: str) -> None:
    heads = columns(rows, group)
    lines = []
    for method in _methods(rows):
        values = [means(rows, method, tasks, group) for tasks in heads.values()]
        if any(values):
            lines.append((title(method), *(mean_text(each, 4) if each else "" for each in values)))
    if lines:
        page.heading(2, GROUPS[group][0].upper() + GROUPS[group][1:])
        if group == "corrupted":
            page.text("; ".join(f"{name}: {text}" for name, text in STRENGTHS.items()) + ".")
        page.table(("", *heads), lines)


def _architectures(page: Page, rows: Sequence[Row]) -> None:
    """The paper's other architectures, a line each and score."""
    heads = {(group, head): tasks for group in GROUPS for head, tasks in columns(rows, group).items()}
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows if row["method"].split()[0] in ARCHITECTURES):
        values = [means(rows, method, tasks, group) for (group, _), tasks in heads.items()]
        lines.append((method, *(mean_text(each, 4) if each else "" for each in values)))
    shown = [place for place in range(1, len(heads) + 1) if any(line[place] for line in lines)]
    if shown:
        names = [GROUPS[group] + ": " + head for group, head in heads]
        page.heading(2, "The paper's other architectures")
        page.table(
            ("", *(names[place - 1] for place in shown)), [(line[0], *(line[at] for at in shown)) for line in lines]
        )


def _intervals(page: Page, rows: Sequence[Row]) -> None:
    lines = []
    for label, tasks in columns(rows, "one").items():
        for method in _methods(rows):
            interval = mean_interval(means(rows, method, tasks, "one"))
            if interval is not None and interval.error > 0:
                text = f"{interval.low:.4f} to {interval.high:.4f}"
                lines.append((label, title(method), f"{interval.estimate:.4f}", text, str(interval.runs)))
    if lines:
        page.heading(2, "Intervals over seeds")
        page.table(("one class", "", "mean", "95% interval", "seeds"), lines)


def _per_class(page: Page, rows: Sequence[Row]) -> None:
    if not any(row["group"] == "one" for row in rows):
        return
    page.heading(2, "One class, each")
    page.image("per-class.png", "One point a class and method; the vote, its members, and the best peers")
    for name, label in DATASETS.items():
        lines = []
        for method in _methods(rows):
            values = [means(rows, method, [f"{name}-{each}"], "one") for each in range(CLASSES)]
            if any(values):
                lines.append((title(method), *(f"{statistics.fmean(each):.3f}" if each else "" for each in values)))
        page.table((label, *map(str, range(CLASSES))), lines)


def _costs(page: Page, rows: Sequence[Row]) -> None:
    lines = []
    for method in (VOTE, *PEERS):
        own = [row for row in rows if row["method"] == method and row["group"] == "one" and row.get("cpu_seconds")]
        if own:
            seconds = statistics.median(row["cpu_seconds"] for row in own)
            images = max(row["images"] for row in rows if row["method"] == method)
            memory = int(statistics.median(row["memory_mb"] for row in own))
            lines.append((title(method), f"{seconds:.1f}", f"{memory:,}", f"{images:,}"))
    if lines:
        page.heading(2, "Time and memory")
        page.text(
            "Of a one-class task, training and scoring of 10,000 images, on one thread: medians of the tasks' seconds",
            "of the processor (other work lengthens those of the clock) and of the process's peak memory, libraries",
            "included; and how many images the method was fitted to at most in any task.",
        )
        page.table(("", "CPU seconds", "MB", "images at most"), lines)
