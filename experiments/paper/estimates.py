"""Means over runs, and how sure they are: 95% intervals by Student's t.

Runs are independent draws: a figure of an architecture is a list of values, one a run.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its standard error and 95% interval."""

    estimate: float
    error: float
    low: float
    high: float
    runs: int  # that it rests on


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Mean of independent values, or of paired differences; None with fewer than two of them."""
    return contrast({"": values}, {"": 1.0})


def contrast(groups: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> Interval | None:
    """Weighted sum of group means, each group with a variance of its own (Welch-Satterthwaite degrees of freedom).

    Returns None where a group has fewer than two values.
    """
    if any(len(groups.get(name, ())) < 2 for name in weights):
        return None
    estimate = sum(weight * statistics.fmean(groups[name]) for name, weight in weights.items())
    parts = {
        name: weight**2 * statistics.variance(groups[name]) / len(groups[name]) for name, weight in weights.items()
    }
    variance = sum(parts.values())
    error = math.sqrt(variance)
    if variance > 0:
        freedom = variance**2 / sum(part**2 / (len(groups[name]) - 1) for name, part in parts.items())
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    else:
        reach = 0.0
    return Interval(estimate, error, estimate - reach, estimate + reach, sum(len(groups[name]) for name in weights))


def difference(groups: Mapping[str, Sequence[float]], better: Sequence[str], worse: Sequence[str]) -> Interval | None:
    """Mean of the architectures `better` less the mean of `worse`, each architecture with the same weight."""
    weights = {name: 1 / len(better) for name in better} | {name: -1 / len(worse) for name in worse}
    return contrast(groups, weights)


def difference_of_worst(
    first: Sequence[float], second: Sequence[float], draws: int = 10_000, limit: int = 20_000
) -> list[float]:
    """How far the smallest values of two sets lie apart, if they are draws of one: over splits of all into two.

    All splits where they are at most `limit`, else `draws` of them at random (seeded).
    """
    joined, size = np.array([*first, *second]), len(first)
    if math.comb(len(joined), size) <= limit:
        chosen = [list(each) for each in itertools.combinations(range(len(joined)), size)]
    else:
        generator = np.random.default_rng(0)
        chosen = [generator.permutation(len(joined))[:size].tolist() for _ in range(draws)]
    found = []
    for rows in chosen:
        inside = np.zeros(len(joined), dtype=bool)
        inside[rows] = True
        found.append(abs(float(joined[inside].min() - joined[~inside].min())))
    return found
