"""Options: dataclasses whose fields carry default, meaning and rule in one place.

The library's functions take them, the command line makes its keys of them. Imports nothing slow.

Examples:
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Walk(Options):
    ...     steps: int = option(10, "how far", whole(least=1))
    >>> Walk(steps=0)
    Traceback (most recent call last):
    dcgmm.errors.OptionError: steps must be a whole number of at least 1, not 0
"""

import copy
import functools
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, TypeVar

from dcgmm.errors import OptionError

Made = TypeVar("Made", bound="Options")

# Numbers of options, where nothing else is said.
SMALLEST, LARGEST = 1e-9, 10**9


@dataclass(frozen=True)
class Rule:
    """What a value must be: a text that completes `must be ...`, and whether it holds; of a list maybe its length."""

    text: str
    holds: Callable[[Any], bool]
    length: int | None = None
    moderate: bool = False  # also, that a number is of a moderate size

    def refusal(self, value: Any) -> str:
        """What a value that is refused must be; where it is a matter of size, of which."""
        parts = value if isinstance(value, list | tuple) else [value]
        numbers = [part for part in parts if isinstance(part, int | float) and abs(part) < math.inf]
        if not self.moderate or all(map(_is_moderate, numbers)):
            return self.text
        return f"{self.text}, in size from {SMALLEST:g} to {LARGEST:g}"


# Of every field of these types, where nothing else is said.
_OF_TYPES = {
    bool: Rule("true or false", lambda value: type(value) is bool),
    str: Rule("a text", lambda value: isinstance(value, str)),
}


# An empty path would be the current directory: what a script gives whose variable is not set.
PATH = Rule("a path", bool)


def whole(least: int = 0, most: int | None = None) -> Rule:
    """A whole number in a range."""
    text = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    high = LARGEST if most is None else most
    return Rule(text, lambda value: type(value) is int and least <= value <= high, moderate=most is None)


def number(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    example: float | None = None,
) -> Rule:
    """A number in a range, its ends included (`least`, `most`) or not (`above`, `below`); moderate, unless `most` says
    how large it may be. An example is for those who may think in other units, as in percent."""
    low, high = least if above is None else above, most if below is None else below
    if low is not None and high is not None:
        text = f"a number in {'[' if above is None else '('}{low:g}, {high:g}{']' if below is None else ')'}"
    elif low is not None:
        text = f"a number of at least {low:g}" if above is None else f"a number above {low:g}"
    else:
        text = "a finite number"
    if example is not None:
        text += f", as in {example:g}"

    def holds(value: Any) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (most is not None or _is_moderate(value))
            and -math.inf < value < math.inf  # of integers, too, that no float can hold
            and (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        )

    return Rule(text, holds, moderate=most is None)


def _is_moderate(value: Any) -> bool:
    """Whether a number, if it is one, can be computed with: its square, or the inverse of that, is one too."""
    if not isinstance(value, int | float):
        return True
    return value == 0 or SMALLEST <= abs(value) <= LARGEST


def among(names: Sequence[str]) -> Rule:
    """One of some names, where they are no enumeration."""
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def one_or_several(rule: Rule) -> Rule:
    """A value, or a list of at least one of them."""

    def holds(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return bool(value) and all(map(rule.holds, value))
        return rule.holds(value)

    return Rule(f"{rule.text}, or a list of such", holds, moderate=rule.moderate)


def several(count: int, rule: Rule) -> Rule:
    """A list of so many values."""

    def holds(value: Any) -> bool:
        return isinstance(value, list | tuple) and len(value) == count and all(map(rule.holds, value))

    return Rule(f"a list of {count}, each {rule.text}", holds, length=count, moderate=rule.moderate)


def option(
    default: Any = MISSING,
    help: str = "",
    rule: Rule | None = None,
    *,
    choices: Sequence[str] = (),
    incidental: bool = False,
    extendable: bool = False,
) -> Any:
    """A field of options.

    Args:
        default: its default; none makes it a field that must be given. A list is copied, a class of options called.
        help: what it means, in a line.
        rule: what it must be where it is not None.
        choices: names that it is often given, for help and completion; those of an enumeration are known without.
        incidental: it says where or on what something is computed, not what: it does not identify a run.
        extendable: a run that goes on may have another value than it began with.
    """
    metadata: dict[str, Any] = {"help": help, "rule": rule, "choices": tuple(choices)}
    metadata |= {"incidental": incidental, "extendable": extendable}
    if isinstance(default, list):
        return field(default_factory=functools.partial(copy.copy, default), metadata=metadata)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Options:
    """Base of options: their fields are checked when they are made.

    Names of choices become members of their enumerations, mappings become the options that a field holds.

    Raises:
        OptionError: a field is out of its range.
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            value = self._convert(each.name, getattr(self, each.name))
            setattr(self, each.name, value)
            # None says that there is none, where that may be said.
            if value is not None or NoneType not in typing.get_args(_hints(type(self))[each.name]):
                self._check(each.name, value, each.metadata.get("rule"))

    def _check(self, name: str, value: Any, rule: Rule | None) -> None:
        """Refuse a value of another type than its field's; the field's own rule is for values of that type."""
        of_type = _rule_of(self._kind(name))
        for each in (of_type, rule):
            if each is not None and not each.holds(value):
                shown = "null" if value is None else value  # an option has a value, also where nobody gave it
                error = OptionError(name, (rule or each).refusal(value), shown, type(self))
                error.value = value
                raise error

    def _kind(self, name: str) -> Any:
        return option_type(_hints(type(self))[name])

    def _convert(self, name: str, value: Any) -> Any:
        hint = _hints(type(self))[name]
        kind = option_type(hint)
        return None if value is None and kind is not hint else self._of_kind(name, kind, value)

    def _of_kind(self, name: str, kind: Any, value: Any) -> Any:
        if isinstance(kind, type) and issubclass(kind, Enum) and not isinstance(value, kind):
            try:
                return kind(value)
            except ValueError:
                raise OptionError(name, f"one of {', '.join(each.value for each in kind)}", value, type(self)) from None
        if typing.get_origin(kind) is list and isinstance(value, list | tuple):
            (inner,) = typing.get_args(kind)
            return [self._of_kind(name, inner, each) for each in value]
        return self._made(name, kind, value)

    def _made(self, name: str, kind: Any, value: Any) -> Any:
        """A value of a field, made options where the field holds such."""
        if not (isinstance(kind, type) and issubclass(kind, Options)) or isinstance(value, kind):
            return _built_in(value)
        if isinstance(value, Mapping):
            return made(kind, value, name)
        raise OptionError(name, f"given by {', '.join(each.name for each in fields(kind))}", value, type(self))


def _rule_of(kind: Any) -> Rule | None:
    """What a value of a type must be: a text, a truth value, or a list of what it holds; None for other types."""
    if typing.get_origin(kind) is not list:
        return _OF_TYPES.get(kind)
    part = _OF_TYPES.get(typing.get_args(kind)[0])
    text = "a list" if part is None else f"a list, each {part.text}"
    return Rule(text, lambda value: isinstance(value, list) and (part is None or all(map(part.holds, value))))


# Types of a class's fields: reading them takes longer than all checks of its values.
_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)


def _built_in(value: Any) -> Any:
    """A number or truth value of NumPy's as one of Python's: only these stand in files."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def checked_seed(seed: Any) -> int:
    """A seed as generators of random numbers take it.

    Raises:
        OptionError: it is no whole number, or out of their range.
    """
    value, rule = _built_in(seed), whole(most=2**64 - 1)
    if not rule.holds(value):
        raise OptionError("seed", rule.text, seed)
    return int(value)


def made(kind: type[Made], given: Mapping[str, Any], name: str = "") -> Made:
    """Options of a mapping.

    Raises:
        OptionError: a key is unknown or missing, or a value is out of its range.
    """
    known = [each.name for each in fields(kind)]
    if not isinstance(given, Mapping):
        raise OptionError(name or kind.__name__, f"given by {', '.join(known)}", given)
    for key in given:
        if key not in known:
            raise OptionError(name or kind.__name__, f"given by {', '.join(known)}", key)
    needed = [each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]
    for key in needed:
        if key not in given:
            raise OptionError(f"{name}.{key}" if name else key, "given", None)
    return kind(**given)


def option_type(hint: Any) -> Any:
    """A field's type without its `| None`."""
    inner = [each for each in typing.get_args(hint) if each is not NoneType]
    is_union = NoneType in typing.get_args(hint)
    return inner[0] if is_union and len(inner) == 1 else hint


def plain(value: Any) -> Any:
    """Options as dictionaries, lists and built-ins, as they stand in files."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return value
