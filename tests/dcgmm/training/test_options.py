import math
from typing import Any

import pytest

from dcgmm.errors import OptionError
from dcgmm.model import AnnealingRule
from dcgmm.options import Options, made, plain
from dcgmm.training import TrainerOptions
from dcgmm.training.layer import annealing_rule
from dcgmm.training.options import AnnealingOptions, LearningRateOptions
from tests.refusals import option_refused


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (TrainerOptions, "epochs", 0),
        (TrainerOptions, "epochs", 2.5),
        (TrainerOptions, "batch_size", 0),
        (TrainerOptions, "steps", 0),
        *((TrainerOptions, "centroid_epochs", value) for value in (-0.1, math.nan, math.inf)),
        (LearningRateOptions, "start", 0.0),
        (LearningRateOptions, "end", 0.0),
        (LearningRateOptions, "end", 0.1),
        *(
            (LearningRateOptions, field, value)
            for field in ("logits", "loc", "precision_sqrt")
            for value in (-0.1, math.nan, math.inf)
        ),
        (AnnealingOptions, "alpha", 0.0),
        (AnnealingOptions, "alpha", 1.1),
        (AnnealingOptions, "delta", 0.0),
        (AnnealingOptions, "gamma", 0.0),
        (AnnealingOptions, "gamma", 1.0),
        (AnnealingOptions, "sigma_end", 0.0),
        (AnnealingOptions, "sigma_end", math.inf),
    ],
)
def test_values_out_of_range(kind: type[Options], field: str, value: Any) -> None:
    with pytest.raises(OptionError) as error:
        made(kind, {field: value})
    assert (error.value.field, error.value.owner) == (field, kind)


def test_the_end_of_the_rate_may_be_its_start() -> None:
    assert LearningRateOptions(start=0.05, end=0.05).end == 0.05
    with option_refused("end", 0.03, 0.02):
        LearningRateOptions(start=0.02)


def test_mappings_become_options() -> None:
    given: dict[str, Any] = {"epochs": 3, "learning_rate": {"loc": 0.5}, "annealing": {"gamma": 0.8}}
    options = made(TrainerOptions, given)
    assert options.learning_rate == LearningRateOptions(loc=0.5)
    assert options.annealing == AnnealingOptions(gamma=0.8)
    assert made(TrainerOptions, plain(options)) == options
    parts: list[dict[str, Any]] = [{"learning_rate": {"rate": 0.1}}, {"annealing": {"window": 3}}]
    for part in [*parts, {"learning_rate": 0.1}, {"annealing": None}]:
        with pytest.raises(OptionError) as error:
            made(TrainerOptions, part)
        assert error.value.field == next(iter(part))


@pytest.mark.parametrize(("alpha", "window"), [(1.0, 1), (0.7, 1), (0.03, 33), (0.02, 50), (0.01, 100)])
def test_windows_of_alpha(alpha: float, window: int) -> None:
    assert AnnealingOptions(alpha=alpha).window == window


def test_the_rule_of_the_options() -> None:
    options = TrainerOptions(
        learning_rate=LearningRateOptions(start=0.2, end=0.1),
        annealing=AnnealingOptions(alpha=0.1, delta=0.3, gamma=0.8, sigma_end=0.02),
    )
    expected = AnnealingRule(window=10, sigma_end=0.02, rate_start=0.2, rate_end=0.1, delta=0.3, gamma=0.8)
    assert annealing_rule(options) == expected
