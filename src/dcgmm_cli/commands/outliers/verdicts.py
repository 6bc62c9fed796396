"""The verdicts on new images, as they are shown on the terminal: all of a few, of many those on the most outlying."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.table import Table

from dcgmm.datasets.names import counted, printable
from dcgmm_cli.terminal import print_table

FEW, MOST = 20, 10  # images that are all shown; outliers that are shown of more


class Verdict(NamedTuple):
    """What is said of an image."""

    file: str
    verdict: str  # inlier, outlier or failed
    score: float  # NaN where it has none
    p_value: str  # empty where it has none
    worst: str  # layer, row and column of the worst place

    @property
    def height(self) -> float:
        """The score as it is sorted by: that of an image without one is the lowest."""
        return -math.inf if math.isnan(self.score) else self.score


@dataclass
class Verdicts:
    """Counts all verdicts, and keeps those that will be shown."""

    counts: dict[str, int] = field(default_factory=lambda: {"inlier": 0, "outlier": 0, "failed": 0})
    _few: list[Verdict] = field(default_factory=list)
    _most: list[Verdict] = field(default_factory=list)

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Take in some more."""
        for each in verdicts:
            self.counts[each.verdict] += 1
        self._few += verdicts[: FEW - len(self._few)]
        outliers = [each for each in verdicts if each.verdict == "outlier"]
        self._most = sorted([*self._most, *outliers], key=lambda each: each.height)[:MOST]

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        failed = self.counts["failed"]
        parts = [counted(self.counts[kind], kind) for kind in ("inlier", "outlier")]
        return ", ".join(parts + [f"{failed:,} that cannot be used"] * (failed > 0))

    def print_table(self) -> None:
        """Print a row an image, or of many images a row for each of the most outlying."""
        shown = self._few if len(self) <= FEW else self._most
        if not shown:
            return
        several = f"the {len(shown)} most outlying" if len(shown) > 1 else "the outlier"
        table = Table(title=None if shown is self._few else f"{several} of {counted(len(self), 'image')}")
        has_p = any(each.p_value for each in shown)
        for column in ("file", "verdict", "p-value" if has_p else "score", "worst place (row, column)"):
            table.add_column(column, justify="right" if column in ("p-value", "score") else "left", overflow="fold")
        for each in shown:
            score = "" if each.verdict == "failed" else f"{each.score:.6g}"
            table.add_row(printable(each.file), each.verdict, each.p_value if has_p else score, each.worst)
        print_table(table)
