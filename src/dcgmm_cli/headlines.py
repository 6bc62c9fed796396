"""The figures that a command is first asked about, and which end of a figure is better. Imports nothing slow."""

import re
from collections.abc import Iterable

from dcgmm.classification import options as classification
from dcgmm.clustering import options as clustering
from dcgmm.generation import options as generation
from dcgmm.model import options as model
from dcgmm.outliers import options as outliers

# By command: columns of its results, or what they begin with.
HEADLINES = {
    "train": ("layers.*.test_log_likelihood", "train_seconds"),
    "outliers": ("auroc.top", "auroc.joint", "where.pixel_auroc", "where.pro"),
    "cluster": ("dunn", "davies_bouldin", "clusters"),
    "sample": ("diversity", "near_duplicates", "ndb", "frechet", "distance.variant"),
    "sharpen": ("log_likelihood",),
    "inpaint": ("mse.mean", "mse.draws", "right.draws"),
    "classify": ("generative.accuracy", "readout.accuracy", "generative.log_loss", "readout.log_loss"),
    "visualize": ("layers.*.components_in_use",),
}

DECLARED: list[dict[str, bool]] = [
    package.HIGHER_IS_BETTER for package in (model, outliers, clustering, classification, generation)
]


def higher_is_better(column: str) -> bool | None:
    """Whether more of a result is better, as the library declares it of the figure; None where it says nothing.

    Examples:
        >>> higher_is_better("methods.k-means.dunn"), higher_is_better("mse.draws"), higher_is_better("mse_share")
        (True, False, None)
    """
    for part in reversed(column.split(".")):
        if part == "seconds" or part.endswith("_seconds"):
            return False
        for declared in DECLARED:
            if part in declared:
                return declared[part]
    return None


def headlines(commands: Iterable[str], columns: Iterable[str]) -> list[str]:
    """Of some results the main ones of commands, in the order of `HEADLINES`."""
    there, asked, shown = list(columns), set(commands), list[str]()
    for pattern in (pattern for command, patterns in HEADLINES.items() if command in asked for pattern in patterns):
        expression = re.escape(pattern).replace(r"\*", "[^.]+") + r"(\..+)?"
        shown += [column for column in there if re.fullmatch(expression, column)]
    return list(dict.fromkeys(shown))


def rounded(value: float) -> str:
    """A number as people read it: four significant digits."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
