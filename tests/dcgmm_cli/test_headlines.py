"""Which end of a figure is better is declared in the library; here, that it is declared for every figure."""

import typing
from dataclasses import fields

import pytest

from dcgmm.classification.evaluation import ClassFigures
from dcgmm.clustering.figures import ClusterFigures
from dcgmm.density import Density
from dcgmm.generation.quality import Quality
from dcgmm.outliers.metrics import Detection
from dcgmm_cli.headlines import DECLARED, HEADLINES, headlines, higher_is_better, rounded
from dcgmm_cli.schema import SCHEMAS

# Figures of which neither more nor less is better.
NEUTRAL = {
    *("clusters", "sizes", "zero_pairs", "separation", "diameter", "count", "bins", "train_distance"),
    *("confusion", "reliability"),
}


@pytest.mark.parametrize(
    "names",
    [
        list(typing.get_type_hints(ClusterFigures)),
        list(Detection._fields),
        [each.name for each in fields(Quality)],
        [each.name for each in fields(Density)],
        [each.name for each in fields(ClassFigures)],
    ],
)
def test_every_figure_says_which_end_is_better(names: list[str]) -> None:
    assert {name for name in names if higher_is_better(name) is None} <= NEUTRAL
    assert not {name for name in names if higher_is_better(name) is not None} & NEUTRAL


def test_no_name_is_declared_twice() -> None:
    names = [name for declared in DECLARED for name in declared]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("layers.gmm1.test_log_likelihood", True),
        ("auroc.top", True),
        ("detection.gmm1_log_prob.false_positive_rate_95", False),
        ("quality.test images.near_duplicates", False),
        ("peers.flat mixture, K=25", False),
        ("train_seconds", False),
        ("layers.gmm1.weights_in_use", True),
        ("layers.gmm1.sigma", None),
        ("judge.count", None),
        ("my_accuracy_of_sorts", None),  # a name that holds another's is not it
    ],
)
def test_a_column_has_the_direction_of_its_figure(column: str, expected: bool | None) -> None:
    assert higher_is_better(column) is expected


def test_headlines_are_of_commands_and_in_their_order() -> None:
    assert set(HEADLINES) <= set(SCHEMAS)
    columns = ["auroc.joint", "train_seconds", "layers.gmm1.test_log_likelihood", "auroc.top", "auroc.topmost"]
    assert headlines(["outliers"], columns) == ["auroc.top", "auroc.joint"]
    assert headlines(["train"], columns) == ["layers.gmm1.test_log_likelihood", "train_seconds"]


def test_rounded() -> None:
    assert [rounded(value) for value in (0.123456, 691.3448, 123456.7, -0.00001234)] == [
        *("0.1235", "691.3", "123,457", "-1.234e-05"),
    ]
