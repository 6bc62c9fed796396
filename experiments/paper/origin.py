"""How the report came about: what differs from the paper, conditions, commands."""

import json
import shlex
from pathlib import Path
from typing import Any

from dcgmm import __version__
from experiments.paper.formats import counted, number
from experiments.paper.plan import CONFIG_DIR, EVERYTHING, FIRST_SEED, FULL, ITEMS, Study, plan
from experiments.paper.published import ARCHS
from experiments.paper.sheet import MISSING, NAMES, Sheet

TIMING = "timing.json"


def age(sheet: Sheet) -> None:
    """A warning where the models are of another version than this one."""
    found = {
        version.partition(",")[0]
        for item in sheet.collected.values()
        if item
        for version in item.more.get("conditions", {}).get("versions", {})
    }
    if others := sorted(found - {f"dcgmm {__version__}"}):
        sheet.text(
            f"**These models were trained by {', '.join(others)}; this is {__version__}, which trains otherwise** "
            "(`experiments/mixtures`): `make paper` in a new `--root` makes them anew."
        )


def differences(sheet: Sheet) -> None:
    """What is not as in the paper."""
    sheet.heading(2, "What is not as in the paper")
    sheet.items(
        [
            "3L-a ends in F(5,5,1,1): the printed F(6,6,1,1) does not fit its 5×5 input.",
            f"2L-e is 2L-c with other seeds ({FIRST_SEED['2L-e']} and up).",
            "d = 1 / std starts at its limit sqrt(20); the paper says unit covariance. Phase 1, whose length the paper "
            "does not give, lasts one epoch. The rate falls from 0.05 to 0.03, annealing windows have 33 steps, and "
            "mixture weights learn at a twentieth of the rate (`experiments/defaults`); at the end they are mean "
            "responsibilities, and layers of K > 25 components learn K / 25 times as fast (`experiments/mixtures`). "
            "All this was chosen on held-out training images; nothing was chosen by this page.",
            "Log-likelihood is log-sum-exp over the components; training ascends the max-component objective.",
            "The paper states neither its sample for table 2 nor the noise of its pictures.",
        ]
    )


def conditions(sheet: Sheet) -> None:
    """What made the results, and how long it took."""
    sheet.heading(2, "Conditions")
    groups: dict[str, list[str]] = {}
    for name, item in sheet.collected.items():
        if item and "conditions" in item.more:
            shown = {key: value for key, value in item.more["conditions"].items() if key != "train_seconds"}
            groups.setdefault(json.dumps(shown), []).append(NAMES[name])
    rows = []
    for text, names in groups.items():
        found: dict[str, Any] = json.loads(text)
        parts = (counted(found[key]) for key in ("versions", "commits", "systems", "devices"))
        rows.append((", ".join(names), str(found["runs"]), *parts))
    if not rows:
        sheet.text(f"**{MISSING}**.")
        return
    sheet.table(("items", "models", "versions", "commit", "system", "device"), rows)
    seeds: dict[str, set[int]] = {}
    for row in (row for item in sheet.collected.values() if item for row in item.rows if "seed" in row):
        seeds.setdefault(row["arch"], set()).add(row["seed"])
    spans = [
        f"{arch} {' to '.join(map(str, sorted({min(seeds[arch]), max(seeds[arch])})))}"
        for arch in ARCHS
        if arch in seeds
    ]
    sheet.text(f"Seeds: {', '.join(spans)}.")
    times = []
    for name, label in (("table2", "all classes"), ("fig3", "classes 0-4")):
        item = sheet.collected[name]
        if item:
            took = item.more["conditions"]["train_seconds"]
            times.append((label, *(number(took.get(arch), 1) for arch in ARCHS)))
    if times:
        sheet.text("Seconds of training a model, mean over the runs:")
        sheet.table(("", *ARCHS), times)
    starts = json.loads((sheet.folder / TIMING).read_text()) if (sheet.folder / TIMING).is_file() else []
    if starts:
        rows = [
            (
                start["started"],
                ", ".join(start["targets"]),
                f"{start['seconds'] / 60:.1f} min",
                str(start["jobs"]),
                f"{start['workers']} processes, {start['cores']} cores, {start['cpu']}",
                start["gpu"] or "none",
                str(start.get("load", "")),
            )
            for start in starts
        ]
        total = sum(start["seconds"] for start in starts) / 60
        sheet.text(
            f"Starts that ran something, {total:.1f} minutes in all; load: the processes that wanted a core at the",
            "end, mean of 15 minutes, others' included, beside which all of these times are longer:",
        )
        sheet.table(("start (UTC)", "targets", "time", "jobs done", "machine", "GPU", "load"), rows)


def commands(sheet: Sheet) -> None:
    """The commands that were run."""
    sheet.heading(2, "Commands")
    sheet.text("Everything, or one item; what is there is not run again, and an interrupted training goes on:")
    sheet.code(["make paper", *(f"make {item}" for item in ITEMS), "make report  # collect and write what is there"])
    sheet.text("What these run, here for 2L-c (2L-a for figure 2), MNIST and the first seed:")
    study = Study(Path("runs") / "paper", FULL)
    lines = []
    for job in plan(study, [EVERYTHING]):
        if job.level == 0 and ("2L-c-mnist/" in job.name or "visualize" in job.name):
            words = [word.replace(str(CONFIG_DIR), "experiments/paper/conf") for word in job.arguments]
            lines.append(shlex.join(("dcgmm", *words)))
    sheet.code(lines)
