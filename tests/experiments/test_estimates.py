import itertools

import pytest
from scipy import stats

from experiments.paper.estimates import contrast, difference, difference_of_worst, mean_interval

A, B, C = [0.3, 0.5, 0.4, 0.9], [0.1, 0.2, 0.15], [0.7, 0.7, 0.8, 0.6, 0.9]


def test_mean_of_paired_differences_against_scipy() -> None:
    found = mean_interval(A)
    theirs = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.estimate == pytest.approx(0.525)
    assert found.error == pytest.approx(stats.sem(A))
    assert found.runs == 4


def test_difference_of_two_against_welch() -> None:
    found = difference({"a": A, "b": B}, ["a"], ["b"])
    theirs = stats.ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.runs == 7


def test_each_architecture_of_a_group_has_the_same_weight() -> None:
    found = difference({"a": A, "b": B, "c": C}, ["a", "c"], ["b"])
    assert found is not None
    assert found.estimate == pytest.approx((0.525 + 0.74) / 2 - 0.15)
    variance = stats.sem(A) ** 2 / 4 + stats.sem(C) ** 2 / 4 + stats.sem(B) ** 2
    assert found.error == pytest.approx(variance**0.5)


def test_an_interval_needs_two_values_of_each() -> None:
    assert mean_interval([1.0]) is None
    assert difference({"a": A, "b": [1.0]}, ["a"], ["b"]) is None
    assert difference({"a": A}, ["a"], ["absent"]) is None


def test_values_that_do_not_vary() -> None:
    found = contrast({"a": [1.0, 1.0], "b": [0.0, 0.0]}, {"a": 1, "b": -1})
    assert found is not None
    assert (found.low, found.estimate, found.high) == (1, 1, 1)


def test_differences_of_worst_are_those_of_all_splits() -> None:
    joined = [3.0, 1.0, 2.0, 5.0, 4.0]
    expected = sorted(abs(min(part) - min(set(joined) - set(part))) for part in itertools.combinations(joined, 2))
    assert sorted(difference_of_worst(joined[:2], joined[2:])) == pytest.approx(expected)


def test_many_splits_are_drawn_at_random() -> None:
    first, second = [float(n) for n in range(10)], [float(n) for n in range(10, 20)]
    every = difference_of_worst(first, second, limit=200_000)
    some = difference_of_worst(first, second)
    assert (len(every), len(some)) == (184_756, 10_000)
    # One side holds 0; the other's smallest is 1 in 10/19 of the splits.
    assert sum(each == 1 for each in every) / len(every) == pytest.approx(10 / 19)
    assert sum(each == 1 for each in some) / len(some) == pytest.approx(10 / 19, abs=0.02)
