"""What tests of refusals share: an error is told by its kind, its field and the values that it names.

Its wording is tested once, beside what words it: that of options in `tests/dcgmm/test_errors.py`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dcgmm.errors import InputError, OptionError


def unnamed(said: str, *named: object) -> list[str]:
    """Which of these values do not stand in a message by themselves: 1 is not in 10, 1.5 or -1."""
    return [value for value in map(str, named) if not re.search(_alone(value), said)]


def _alone(value: str) -> str:
    before = r"(?<![\w.-])" if value[:1].isdigit() else r"(?<![\w.])" if value[:1].isalpha() else ""
    after = r"(?!\w|\.\d)" if value[-1:].isalnum() else ""
    return before + re.escape(value) + after


def check_names(said: str, *named: object) -> None:
    """Check that a message is one line, and that each of these values stands in it by itself."""
    assert "\n" not in said
    assert not unnamed(said, *named), said


@contextmanager
def refused(*named: object, kind: type[Exception] = InputError) -> Iterator[None]:
    """Check that what is done raises an error of just this kind, which names each of these values."""
    with pytest.raises(kind) as error:
        yield
    assert type(error.value) is kind
    check_names(str(error.value), *named)


@contextmanager
def option_refused(field: str, value: Any, *allowed: object) -> Iterator[None]:
    """Check that what is done raises an OptionError of this field and value, whose rule names what is allowed."""
    with pytest.raises(OptionError) as error:
        yield
    check_option(error.value, field, value, *allowed)


def check_option(error: OptionError, field: str, value: Any, *allowed: object) -> None:
    """Check an error's field and value, and that its rule names what is allowed."""
    assert (error.field, str(error.value)) == (field, str(value))
    check_names(error.rule, *allowed)
