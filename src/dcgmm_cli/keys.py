"""The keys of a command, read off its schema. Imports nothing slow."""

import operator
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any

from dcgmm.errors import OptionError
from dcgmm.options import Options, option_type


class Key(typing.NamedTuple):
    """A key of a command, and the field that it is."""

    name: str  # with its dots
    type: Any  # without `| None`
    field: Field[Any]
    owner: type[Options]  # the class that has the field

    @property
    def is_enumeration(self) -> bool:
        """Whether it takes nothing but its choices."""
        return isinstance(self.type, type) and issubclass(self.type, Enum)

    @property
    def choices(self) -> tuple[str, ...]:
        """Names that it takes, or is often given."""
        if self.is_enumeration:
            return tuple(str(member.value) for member in self.type)
        return tuple(self.field.metadata["choices"])

    @property
    def default(self) -> Any:
        """Its default; MISSING where it must be given."""
        factory = self.field.default_factory
        return self.field.default if factory is MISSING else factory()


def keys(schema: type[Options]) -> tuple[Key, ...]:
    """All keys of a schema, nested ones with their dots."""
    return tuple(_keys(schema, ""))


def _keys(schema: type[Options], prefix: str) -> Iterator[Key]:
    hints = typing.get_type_hints(schema)
    for each in fields(schema):
        kind = option_type(hints[each.name])
        if isinstance(kind, type) and issubclass(kind, Options):
            yield from _keys(kind, f"{prefix}{each.name}.")
        else:
            yield Key(prefix + each.name, kind, each, schema)


def with_prefix(error: OptionError, config: Options) -> OptionError:
    """An error of the library with its field as the command's key.

    A field of options has its key by their class. An argument of a function is the key that ends like it, if there is
    one with the value that was refused.
    """
    first = error.field.partition(".")[0]
    ending = [key for key in keys(type(config)) if key.field.name == first]
    if error.owner is not None:
        found = [key for key in ending if issubclass(key.owner, error.owner)]
    else:
        found = [key for key in ending if operator.attrgetter(key.name)(config) == error.value]
    return error.under(found[0].name.rpartition(".")[0]) if len(found) == 1 else error


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in content.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
