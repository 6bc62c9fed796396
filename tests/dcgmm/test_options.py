import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from dcgmm.errors import OptionError
from dcgmm.options import (
    Options,
    Rule,
    checked_seed,
    made,
    number,
    one_or_several,
    option,
    option_type,
    plain,
    several,
    whole,
)
from dcgmm.training import TrainerOptions
from tests.refusals import option_refused


class Colour(StrEnum):
    red = "red"
    blue = "blue"


@dataclass
class Inner(Options):
    gamma: float = option(0.9, "a factor", number(above=0, below=1))
    names: list[str] = option(["a"])


@dataclass
class Item(Options):
    size: int = option(help="needed", rule=whole(least=1))


@dataclass
class Outer(Options):
    steps: int = option(10, "how far", whole(least=1), extendable=True)
    most: int | None = option(None, "a limit", whole(least=1))
    colour: Colour = option(Colour.red)
    second: Colour | None = option(None)
    inner: Inner = option(Inner)
    items: list[Item] = option([])
    anything: Any = option(1, "one or several", one_or_several(whole(least=1)), choices=("1",), incidental=True)


NO_NUMBERS = ("1", None, True, math.nan, math.inf, [1])


@pytest.mark.parametrize(
    ("rule", "text", "good", "bad"),
    [
        (whole(), "a whole number of at least 0", (0, 5), (-1, 1.0, True, "1", None)),
        (whole(least=1, most=3), "a whole number from 1 to 3", (1, 3), (0, 4)),
        (number(), "a finite number", (-1, 0.5), NO_NUMBERS),
        (number(least=0), "a number of at least 0", (0, 1e9), (-1e-9, *NO_NUMBERS)),
        (number(above=0), "a number above 0", (1e-9, 1), (0, -1)),
        (number(), "a finite number", (-1e9, 0.0), (1e300, -(10**400), 1e-300)),
        (whole(), "a whole number of at least 0", (10**9,), (10**9 + 1, 10**400)),
        (number(above=0, most=1), "a number in (0, 1]", (1e-9, 1), (0, 1.1, 10**400, -(10**400), *NO_NUMBERS)),
        (number(least=0, below=1), "a number in [0, 1)", (0, 0.99), (1, -0.1)),
        (one_or_several(whole(least=1)), "a whole number of at least 1, or a list of such", (1, [1, 2]), (0, [], [0])),
        (several(2, whole(least=1)), "a list of 2, each a whole number of at least 1", ([1, 2],), ([1], 1, [0, 1])),
    ],
)
def test_rules(rule: Rule, text: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    assert rule.text == text
    assert all(map(rule.holds, good))
    assert not any(map(rule.holds, bad))


def test_defaults_are_not_shared() -> None:
    first, second = Outer(), Outer()
    first.inner.names.append("b")
    first.items.append(Item(1))
    assert (second.inner.names, second.items) == (["a"], [])


@pytest.mark.parametrize(
    ("given", "field", "owner"),
    [
        ({"steps": 0}, "steps", Outer),
        ({"steps": None}, "steps", Outer),
        ({"most": 0}, "most", Outer),
        ({"colour": "green"}, "colour", Outer),
        ({"anything": []}, "anything", Outer),
        ({"inner": {"gamma": 1}}, "gamma", Inner),
        ({"inner": {"delta": 1}}, "inner", None),
        ({"items": [{"size": 0}]}, "size", Item),
        ({"items": [{}]}, "items.size", None),
    ],
)
def test_what_is_out_of_range_is_refused_when_it_is_made(given: dict[str, Any], field: str, owner: Any) -> None:
    with pytest.raises(OptionError) as error:
        Outer(**given)
    assert (error.value.field, error.value.owner) == (field, owner)


def test_a_choice_that_is_not_there_names_those_that_are() -> None:
    with option_refused("colour", "green", "red", "blue"):
        Outer(colour="green")  # type: ignore[arg-type]


def test_names_and_mappings_become_what_the_fields_hold() -> None:
    options = made(Outer, {"colour": "blue", "second": "red", "inner": {"gamma": 0.5}, "items": ({"size": 2},)})
    assert (options.colour, options.second) == (Colour.blue, Colour.red)
    assert (options.inner, options.items) == (Inner(0.5), [Item(2)])
    assert made(Outer, plain(options)) == options
    assert Outer(most=None).most is None


def test_what_is_unknown_or_missing_in_a_mapping_is_named() -> None:
    with option_refused("Outer", "step", "steps", "most", "colour"):
        made(Outer, {"step": 1})
    with option_refused("size", None, "given"):
        made(Item, {})


def test_plain_options_are_built_ins_all_through() -> None:
    content = plain(Outer(colour=Colour.blue, items=[Item(2)], anything=(1, 2)))
    assert content == {
        "steps": 10,
        "most": None,
        "colour": "blue",
        "second": None,
        "inner": {"gamma": 0.9, "names": ["a"]},
        "items": [{"size": 2}],
        "anything": [1, 2],
    }
    assert type(content["colour"]) is str


def test_types_without_their_none() -> None:
    assert option_type(int | None) is int
    assert option_type(list[int] | None) == list[int]
    assert option_type(int | float) == int | float
    assert option_type(Any) is Any


def test_marks_stand_in_the_metadata() -> None:
    fields = {each.name: each.metadata for each in Outer.__dataclass_fields__.values()}
    assert (fields["steps"]["extendable"], fields["steps"]["incidental"]) == (True, False)
    assert (fields["anything"]["incidental"], fields["anything"]["choices"]) == (True, ("1",))
    assert fields["steps"]["help"] == "how far"


def test_numbers_of_numpy_become_pythons() -> None:
    options = Outer(steps=np.int64(3), inner={"gamma": np.float64(0.5)})  # type: ignore[arg-type]
    assert (type(options.steps), type(options.inner.gamma)) == (int, float)
    with pytest.raises(OptionError):
        Outer(steps=np.float64(3.0))  # type: ignore[arg-type]


def test_truth_values_are_true_or_false() -> None:
    assert TrainerOptions(weights_by_use=np.False_).weights_by_use is False  # type: ignore[arg-type]
    for wrong in ("maybe", 1, None, "true"):
        with option_refused("weights_by_use", wrong, "true", "false"):
            TrainerOptions(weights_by_use=wrong)  # type: ignore[arg-type]


def test_a_list_is_given_as_a_list() -> None:
    for given in ("ab", 3, {"a": 1}, [1], [None], [["a"]], [{"a": 1}]):
        with option_refused("names", given, "list", "text"):
            Inner(names=given)  # type: ignore[arg-type]


def test_what_is_no_mapping() -> None:
    with option_refused("Inner", 3, "gamma", "names"):
        made(Inner, 3)  # type: ignore[arg-type]


def test_seeds() -> None:
    assert [checked_seed(seed) for seed in (0, np.int64(5), 2**64 - 1)] == [0, 5, 2**64 - 1]
    for wrong in ("5", 5.0, None, True, -1, 2**64):
        with option_refused("seed", wrong, 0, 2**64 - 1):
            checked_seed(wrong)


@pytest.mark.parametrize("value", [1e10, -(10**400), -1e-10])
def test_of_numbers_that_nobody_needs_the_limits_are_told(value: float) -> None:
    with pytest.raises(OptionError) as error:
        made(WithRules, {"factor": value})
    assert error.value.rule == "a finite number, in size from 1e-09 to 1e+09"


@pytest.mark.parametrize(
    ("field", "value"), [("text", 3), ("text", [1]), ("flag", 1), ("flag", "yes"), ("flag", None), ("word", 3)]
)
def test_texts_and_truth_values_are_such(field: str, value: object) -> None:
    with pytest.raises(OptionError) as error:
        made(WithRules, {field: value})
    assert error.value.field == field


def test_lists_hold_what_their_rules_are_for() -> None:
    assert WithRules(colours=["red", "blue"]).colours == [Colour.red, Colour.blue]  # type: ignore[list-item]
    for field, value in (
        ("colours", ["green"]),
        ("colours", None),
        ("shares", None),
        ("shares", 0.5),
        ("shares", [{}]),
    ):
        with pytest.raises(OptionError) as error:
            made(WithRules, {field: value})
        assert error.value.field == field


@dataclass
class WithRules(Options):
    factor: float = option(1.0, "", number())
    text: str | None = option("a", "")
    flag: bool = option(False, "")
    colours: list[Colour] = option(["red"], "")
    word: str | None = option(None, "", Rule("a word", lambda word: word.isalpha()))
    shares: list[float] = option([0.5], "", Rule("a list of numbers", lambda shares: all(map(number().holds, shares))))
