"""The paper's claims as checks of what was collected: each an estimate with its 95% interval, and a rule.

A check says that some quantity lies above (or below) a bound. It holds where the whole interval does, is contradicted
where the whole interval lies on the other side, and is undecided in between. A claim is reproduced where all of its
checks hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from experiments.paper.estimates import Interval, difference, mean_interval
from experiments.paper.items import Item
from experiments.paper.plan import TOP_S
from experiments.paper.published import (
    ARCHS,
    DATASETS,
    DEEP_CONVOLUTIONAL,
    DEEP_NON_CONVOLUTIONAL,
    FLAT,
    METRICS,
    TABLE_2,
)

HARM = 0.05  # sharpening may raise a figure of bad quality by so much of it, and still does no harm

Verdict = Literal["holds", "contradicted", "undecided", "missing"]
Collected = Mapping[str, Item | None]  # by item

NON_CONVOLUTIONAL = (*FLAT, *DEEP_NON_CONVOLUTIONAL)
SHOWN_CONVOLUTIONAL, SHOWN_OTHERS = ("2L-c", "2L-e"), ("1L", "2L-d")  # figures 4 and 7
SETTINGS = {
    "paper": "paper's setting",
    "paper_low_noise": "paper's setting on draws with less noise",
    "default": "default of `dcgmm sharpen`",
}


@dataclass(frozen=True)
class Check:
    """One quantity that a claim says is above `bound`, or below it where `below` is set."""

    quantity: str
    dataset: str
    interval: Interval | None  # None: not enough runs
    below: bool = False
    bound: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """What the interval says."""
        if self.interval is None:
            return "missing"
        over, under = self.interval.low > self.bound, self.interval.high < self.bound
        if not over and not under:
            return "undecided"
        return "holds" if under is self.below else "contradicted"


@dataclass(frozen=True)
class Claim:
    """Something that the paper says, and what follows from it that can be checked."""

    title: str
    source: str
    how: str
    checks: Sequence[Check]
    because: Sequence[str] = ()  # what stands against it, read off the figures

    def verdict(self, dataset: str | None = None) -> str:
        """In words, on one of the paper's data sets or on both: reproduced, not reproduced, in part, or missing."""
        found = [check.verdict for check in self.checks if dataset in (None, check.dataset)]
        counts = {name: found.count(name) for name in ("holds", "contradicted", "undecided", "missing")}
        if counts["missing"] == len(found):
            return "missing: not enough runs yet"
        if counts["holds"] == len(found):
            return "reproduced"
        listed = ", ".join(f"{count} {'hold' if name == 'holds' else name}" for name, count in counts.items() if count)
        return f"{'reproduced in part' if counts['holds'] else 'not reproduced'} (of {len(found)} checks {listed})"


def values(item: Item | None, column: str, **where: object) -> dict[str, list[float]]:
    """A column by architecture, of the rows that have the given values; undefined figures are left out."""
    groups: dict[str, list[float]] = {}
    for row in item.rows if item else ():
        if all(row[key] == value for key, value in where.items()) and row[column] is not None:
            groups.setdefault(row["arch"], []).append(float(row[column]))
    return groups


def mean(numbers: Sequence[float]) -> float:
    """Mean of at least one number."""
    return sum(numbers) / len(numbers)


def best_of(groups: Mapping[str, Sequence[float]], archs: Iterable[str]) -> list[str]:
    """Architecture with the largest mean; none where there is none."""
    there = [arch for arch in archs if groups.get(arch)]
    return [max(there, key=lambda arch: mean(groups[arch]))] if there else []


def outliers(collected: Collected) -> Claim:
    """Section 4.2."""
    checks: list[Check] = []
    because: list[str] = []
    for dataset in DATASETS:
        groups = values(collected["fig3"], "auroc", dataset=dataset)
        best, other = best_of(groups, DEEP_CONVOLUTIONAL), best_of(groups, NON_CONVOLUTIONAL)
        best_pair = difference(groups, best, other) if best and other else None
        compared = {
            f"best deep convolutional ({', '.join(best)}) less best other ({', '.join(other)})": best_pair,
            "deep convolutional less deep non-convolutional": difference(
                groups, DEEP_CONVOLUTIONAL, DEEP_NON_CONVOLUTIONAL
            ),
            "deep convolutional less 1L": difference(groups, DEEP_CONVOLUTIONAL, FLAT),
            "1L less deep non-convolutional": difference(groups, FLAT, DEEP_NON_CONVOLUTIONAL),
        }
        checks += [Check(quantity, dataset, interval) for quantity, interval in compared.items()]
        flat = mean(groups["1L"]) if groups.get("1L") else 0.0
        below = {arch: mean(groups[arch]) for arch in DEEP_CONVOLUTIONAL if groups.get(arch)}
        if listed := ", ".join(f"{arch} {value:.3f}" for arch, value in below.items() if value < flat):
            because.append(f"{DATASETS[dataset]}: convolutional, but below the flat GMM's {flat:.3f}: {listed}.")
    return Claim(
        "Deep convolutional instances detect outliers best, deep but non-convolutional ones consistently perform badly",
        "section 4.2, figure 3",
        "AUROC of the paper's score, the log-likelihood in the top layer, with classes 0-4 as inliers and 5-9 as "
        "outliers. Groups are means of their architectures; the best of a group has the largest mean over its "
        "runs, which flatters it a little.",
        checks,
        because,
    )


def clustering(collected: Collected) -> Claim:
    """Section 4.3."""
    checks: list[Check] = []
    because: list[str] = []
    for dataset in DATASETS:
        for metric in METRICS:
            groups = values(collected["table2"], metric, dataset=dataset)
            name, below = metric.replace("_", "-"), metric == "davies_bouldin"
            for label, others in (("deep convolutional", DEEP_CONVOLUTIONAL), ("1L", FLAT)):
                quantity = f"{name}: deep non-convolutional less {label}"
                interval = difference(groups, DEEP_NON_CONVOLUTIONAL, others)
                checks.append(Check(quantity, dataset, interval, below))
                printed = _printed(dataset, metric, others)
                if (printed >= 0) is below:
                    because.append(
                        f"{DATASETS[dataset]}: the paper's own table 2 says otherwise ({quantity}: {printed:+.3f})."
                    )
    return Claim(
        "Mainly the deep but non-convolutional instances perform well in clustering",
        "section 4.3, table 2",
        "A larger Dunn index and a smaller Davies-Bouldin score are better. Means over the runs; groups are means of "
        "their architectures.",
        checks,
        because,
    )


def _printed(dataset: str, metric: str, others: Sequence[str]) -> float:
    printed = dict(zip(ARCHS, TABLE_2[dataset, metric], strict=True))

    def group(archs: Sequence[str]) -> float:
        return mean([value for arch in archs if (value := printed[arch]) is not None])

    return group(DEEP_NON_CONVOLUTIONAL) - group(others)


def diversity(collected: Collected) -> Claim:
    """Section 4.4, effects of convolution."""
    checks: list[Check] = []
    for dataset, item in zip(DATASETS, ("fig4", "fig7"), strict=True):
        distances = values(collected[item], "diversity", dataset=dataset)
        repeated = values(collected[item], "near_duplicates", dataset=dataset)
        shown = (f"{', '.join(SHOWN_CONVOLUTIONAL)} less {', '.join(SHOWN_OTHERS)}", SHOWN_CONVOLUTIONAL, SHOWN_OTHERS)
        every = ("all convolutional less all others", DEEP_CONVOLUTIONAL, NON_CONVOLUTIONAL)
        for names, archs, others in (shown, every):
            checks += [
                Check(f"share of near-duplicates: {names}", dataset, difference(repeated, archs, others), below=True),
                Check(f"distance to the nearest other sample: {names}", dataset, difference(distances, archs, others)),
            ]
    return Claim(
        "Convolutional instances generate diverse samples, the others replicate their centroids with added white noise",
        "section 4.4, figures 4 and 7",
        "Top-1 samples without the white noise: no pixel noise, and the model's own noise above. A near-duplicate has "
        "another sample within half the median distance between neighbouring training images.",
        checks,
    )


def sharpening(collected: Collected) -> Claim:
    """Section 4.4, sharp images."""
    names = {"js": "divergence from the data (JS)", "train_distance": "distance to the nearest training image"}
    checks: list[Check] = []
    for dataset, item in zip(DATASETS, ("fig5", "fig8"), strict=True):
        for setting, label in SETTINGS.items():
            for key, name in names.items():
                pair = [
                    values(collected[item], f"{key}_{when}", dataset=dataset, setting=setting).get("2L-c", [])
                    for when in ("before", "after")
                ]
                rises = [(after - before) / before for before, after in zip(*pair, strict=True) if before]
                quantity = f"{label}: relative rise of the {name}"
                checks.append(Check(quantity, dataset, mean_interval(rises), below=True, bound=HARM))
    return Claim(
        "Sharpening does no harm",
        "section 4.4, figures 5 and 8",
        "2L-c, the same draws before and after. A figure that is small for good samples may rise by less than "
        f"{HARM:.0%}. The paper's setting is 1,000 steps of 0.1.",
        checks,
    )


def top_s(collected: Collected) -> Claim:
    """Section 4.4, controlling diversity."""
    checks: list[Check] = []
    for dataset in DATASETS:
        steps = [("diversity", "distance to the nearest other sample", *pair) for pair in pairwise(TOP_S)]
        steps.append(("train_distance", "distance to the nearest training image", TOP_S[0], TOP_S[-1]))
        for column, name, low, high in steps:
            before, after = (_by_seed(collected["fig6"], column, dataset, s) for s in (low, high))
            rises = [after[seed] - before[seed] for seed in before if seed in after]
            checks.append(Check(f"{name}: S={high} less S={low}", dataset, mean_interval(rises)))
    return Claim(
        "A higher S yields more diverse samples, and a higher risk of corrupted ones",
        "section 4.4, figure 6",
        "2L-c, samples without pixel noise, differences within a run. The distance to the training images stands for "
        "the risk.",
        checks,
    )


def _by_seed(item: Item | None, column: str, dataset: str, s: int) -> dict[int, float]:
    rows = item.rows if item else []
    return {row["seed"]: row[column] for row in rows if row["dataset"] == dataset and row["top_s"] == s}
