import math
from typing import Any

import pytest

from dcgmm.errors import OptionError
from dcgmm.generation import SamplingOptions, Setting, SharpeningOptions
from dcgmm.generation.options import PAPER, Steps
from dcgmm.model import SharpeningPreset
from dcgmm.options import made

PRESET = SharpeningPreset(iterations=12, rate=0.3, layers=["folding2"])
OF_PRESET = Steps(12, rate=0.3, layers=("folding2",))


def steps(preset: SharpeningPreset = PRESET, **fields: Any) -> Steps:
    return made(SharpeningOptions, fields).steps(preset)


def test_what_options_leave_open_is_the_architecture_s() -> None:
    assert steps() == OF_PRESET
    assert steps(SharpeningPreset()) == Steps(10, rate=0.02)
    assert steps(iterations=3) == Steps(3, rate=0.3, layers=("folding2",))
    assert steps(iterations=0).iterations == 0
    assert steps(rate=0.5, penalty=2.0) == Steps(12, rate=0.5, penalty=2.0, layers=("folding2",))
    assert steps(step_size=0.1) == Steps(12, step_size=0.1, rate=0.3, layers=("folding2",))
    assert steps(layers=["folding1"]) == Steps(12, rate=0.3, layers=("folding1",))
    assert steps(layers=[]).layers == ()


def test_the_architecture_s_layers_are_for_the_next_layers_above_as_targets() -> None:
    assert steps(target="gmm2") == Steps(12, rate=0.3, target="gmm2")
    assert steps(target="gmm2", layers=["folding1"]).layers == ("folding1",)


def test_the_paper_s_setting_takes_nothing_of_the_architecture() -> None:
    assert steps(setting="paper") == PAPER == Steps(1000, step_size=0.1)
    assert steps(setting="paper", iterations=5) == Steps(5, step_size=0.1)
    # A rate stands instead of the setting's step, a step instead of both.
    assert steps(setting="paper", rate=0.5) == Steps(1000, rate=0.5)
    assert steps(setting="paper", rate=0.5, step_size=0.2) == Steps(1000, step_size=0.2, rate=0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("setting", "strong"),
        ("iterations", -1),
        ("iterations", 1.5),
        ("step_size", 0.0),
        ("step_size", math.nan),
        ("rate", 0.0),
        ("rate", 2.0),
        ("penalty", -1.0),
        ("penalty", math.inf),
    ],
)
def test_sharpening_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(OptionError) as error:
        made(SharpeningOptions, {field: value})
    assert (error.value.field, error.value.owner) == (field, SharpeningOptions)


def test_names_become_members_and_lists() -> None:
    given: dict[str, Any] = {"setting": "paper", "layers": ("folding1",)}
    options = made(SharpeningOptions, given)
    assert options.setting is Setting.paper
    assert options.layers == ["folding1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_s", 0),
        ("top_s", True),
        ("std_scale", "much"),
        ("std_scale", math.nan),
        ("temperature", -1.0),
        ("components", "-1"),
        ("components", 3),
    ],
)
def test_sampling_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(OptionError) as error:
        made(SamplingOptions, {field: value})
    assert (error.value.field, error.value.owner) == (field, SamplingOptions)


def test_sampling_by_default_is_greedy_and_noisy() -> None:
    assert SamplingOptions() == SamplingOptions(1, 1.0, 1.0, 1.0, None, "weights")
