"""The candidates of the choice: scores of models, alone and together, and how well they tell the proxy tasks' outliers.

Shapes: M scores that vote, N images.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dcgmm.outliers.calibration import Distribution
from dcgmm.outliers.metrics import auroc

Values = NDArray[np.float64]
Kept = Mapping[str, Values]  # <score>/<images>: (N,), of a model in a task
SCORES = ("joint", "ratio", "log_prob", "pixels")
KINDS = ("train", "inliers", "outliers")


@dataclass(frozen=True)
class Ballot:
    """A score of a model in a task, in training standard deviations and as the logarithm of its p-value."""

    standardised: dict[str, Values]  # (N,), by images
    log_p: dict[str, Values]

    @classmethod
    def of(cls, kept: Kept, score: str) -> "Ballot":
        """A score by its short name; log_prob is the top layer's."""
        own = sorted(name.partition("/")[0] for name in kept if name.endswith("_log_prob/train"))[-1]
        name = own if score == "log_prob" else score
        values = {kind: kept[f"{name}/{kind}"] for kind in KINDS}
        mean, deviation = values["train"].mean(), values["train"].std()
        distribution = Distribution.of(torch.from_numpy(values["train"]))
        return cls(
            {kind: (each - mean) / deviation for kind, each in values.items()},
            {kind: distribution.log_p_values(torch.from_numpy(each)).numpy() for kind, each in values.items()},
        )


def soft_minimum(z: Values) -> Values:  # (M, N) -> (N,)
    """-log mean exp(-z)."""
    return np.asarray(-np.log(np.exp(-z).mean(0)))


VOTES: dict[str, Callable[[Values, Values], Values]] = {  # of standardised scores and log p-values, (M, N) each
    "mean": lambda z, log_p: z.mean(0),
    "smallest": lambda z, log_p: z.min(0),
    "soft minimum": lambda z, log_p: soft_minimum(z),
    "mean log p": lambda z, log_p: log_p.mean(0),
}


def candidates(models: tuple[str, ...]) -> Iterator[tuple[tuple[tuple[str, str], ...], str]]:
    """Members, each a model with a score, and their vote."""
    for count in range(1, 4):
        for chosen in itertools.combinations(models, count):
            for scores in itertools.product(SCORES, repeat=count):
                members = tuple(zip(chosen, scores, strict=True))
                for vote in VOTES if count > 1 else ("mean",):
                    yield members, vote


def judged(ballots: list[Ballot], vote: str) -> float:
    """AUROC of a candidate in a task."""
    found = {
        kind: VOTES[vote](
            np.stack([ballot.standardised[kind] for ballot in ballots]),
            np.stack([ballot.log_p[kind] for ballot in ballots]),
        )
        for kind in KINDS[1:]
    }
    return auroc(found["inliers"], found["outliers"])


def rank(kept: Mapping[tuple[str, str], Kept], models: tuple[str, ...]) -> list[tuple[float, str, dict[str, float]]]:
    """Candidates, the best first: their criterion, names, and mean AUROC by kind and data set of tasks.

    Args:
        kept: scores by task (<data set> <kind> <class>) and model.
        models: those that are there for all tasks.
    """
    tasks = sorted({task for task, _ in kept})
    groups: dict[str, list[str]] = {}
    for task in tasks:
        groups.setdefault(task.rpartition(" ")[0], []).append(task)
    ballots = {
        (task, model, score): Ballot.of(kept[task, model], score)
        for task in tasks
        for model in models
        for score in SCORES
    }
    found = []
    for members, vote in candidates(models):
        means = {
            group: float(np.mean([judged([ballots[task, *member] for member in members], vote) for task in own]))
            for group, own in groups.items()
        }
        criterion = float(np.exp(np.mean([np.log(1 - mean) for mean in means.values()])))
        name = ", ".join(" ".join(member) for member in members) + (f": {vote}" if len(members) > 1 else "")
        found.append((criterion, name, means))
    return sorted(found)
