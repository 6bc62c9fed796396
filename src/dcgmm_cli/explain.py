"""What Hydra and OmegaConf refuse, in one line for people."""

import difflib
import re
import sys
import typing
from collections.abc import Mapping

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from dcgmm.options import Options, option_type
from dcgmm_cli.keys import Key, keys
from dcgmm_cli.schema import GROUPS, SCHEMAS

# Of Hydra's plugins those of our extras.
PLUGINS = {
    **dict.fromkeys(
        ("hydra/launcher=joblib", "hydra/launcher=submitit_local", "hydra/launcher=submitit_slurm"), "sweep"
    ),
    "hydra/launcher=ray": "ray",
    "hydra/sweeper=optuna": "optuna",
}
WITHOUT_SWEEPS = {
    "data": "fetch=[mnist,svhn] fetches several data sets",
    "show": "dcgmm compare run=A run=B puts runs side by side",
    "compare": "run=A run=B puts runs side by side",
    "results": "it makes one table; arch=1L,2L-c shows runs of either",
}


def explain(error: Exception, command: str) -> str:
    """One line for a user out of an exception of Hydra or OmegaConf."""
    if isinstance(error, OverrideParseException):
        first = str(error).splitlines()[0]
        return (
            f"cannot read {error.override} ({first}); put a value with special characters in quotes of its own, inside "
            f"those for the shell: \"key='value'\", or \"key='one','other'\" in a sweep"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if extra := PLUGINS.get(f"{group}={choice}"):
            return f"{group}={choice} is not installed: pip install 'dcgmm[{extra}]', or leave it out"
        if choice == "rq":
            return "hydra/launcher=rq is not for dcgmm: its plugin 1.2.0 breaks every sweep on Python 3.11 and later"
        return f"{group}={choice} is unknown; choose {', '.join(error.options)}"
    if found := re.search(r"(?:Input|Option)Error raised while resolving interpolation: (.*)", str(error)):
        return found[1]  # our own, by a resolver
    if found := re.search(r"Ambiguous value for argument '([^=']+)=(.*)'", str(error)):
        return _several_values(found[1], found[2], command)
    found = re.search(r"Could not override '([^']+)'", str(error))
    if found and found[1] not in given_names(command):
        return unknown_key(found[1], command)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key is not None:
        return _misfit(cause, command)
    if isinstance(cause, OverflowError) and (found := re.search(r"full_key: (\S+)", str(cause))):
        wanted = _wanted(found[1], {key.name: key for key in keys(SCHEMAS[command])}) or "a number"
        return f"{found[1]} must be {wanted}, not one of more than {sys.float_info.max_10_exp} digits"
    if "integer string conversion" in str(cause):  # how Python says it
        return f"a number has more than {sys.get_int_max_str_digits()} digits"
    return next(iter(str(cause).splitlines()), type(cause).__name__)


def _several_values(key: str, values: str, command: str) -> str:
    advice = [] if command in WITHOUT_SWEEPS else ["add -m for a sweep"]
    if any(each.name == key and _takes_list(each) for each in keys(SCHEMAS[command])):
        advice.append(f"write {key}=[{values}] for a list")
    return f"{key}={values} gives several values: {', or '.join(advice) or 'it takes one'}"


def _takes_list(key: Key) -> bool:
    return key.type is typing.Any or typing.get_origin(key.type) is list


def _holds_options(key: Key) -> bool:
    return any(isinstance(each, type) and issubclass(each, Options) for each in typing.get_args(key.type))


def _misfit(error: OmegaConfBaseException, command: str) -> str:
    """A key or value that does not fit the schema."""
    name, owner = str(error.full_key), error.object_type
    known = {key.name: key for key in keys(SCHEMAS[command])}
    where = ""
    # Of what stands in a list, such as a layer, OmegaConf often knows only the last part of its name.
    lists = [key.name for key in known.values() if owner in typing.get_args(key.type)]
    if lists and isinstance(owner, type) and issubclass(owner, Options):
        where = "" if name.startswith(lists[0]) else f"{lists[0]}: "
        known = {key.name: key for key in keys(owner)}
    if isinstance(error, MissingMandatoryValue):
        return f"{name} is needed: give {name}=..."
    if isinstance(error, ConfigAttributeError | ConfigKeyError):
        if not where:
            return unknown_key(name, command)
        close = difflib.get_close_matches(name.rpartition(".")[2], known, 1, 0.7)
        hint = f": did you mean {close[0]}? The keys are" if close else "; the keys are"
        return f"{where}unknown key {name}{hint} {', '.join(known)}"
    value = getattr(error, "value", None)
    if isinstance(error, ValidationError) and name in known and known[name].is_enumeration:
        return f"{where}{name}={'null' if value is None else value}: choose {', '.join(known[name].choices)}"
    if isinstance(error, ValidationError) and value is None:
        return f"{where}{name} must not be null"
    if isinstance(error, ValidationError) and (below := [each for each in known if each.startswith(f"{name}.")]):
        others = ", ".join(each.removeprefix(f"{name}.") for each in below[1:])
        return f"{name} has keys of its own: give {below[0]}=... (or another of {others}), not {name}={value}"
    wanted = _wanted(name, known) if isinstance(error, ValidationError) else None
    if wanted and not where and name in known and _takes_list(known[name]) and not _holds_options(known[name]):
        rule = known[name].field.metadata["rule"]
        wanted += f", as in {name}=[{','.join([str(value)] * ((rule and rule.length) or 1))}]"
    return f"{where}{name} must be {wanted}, not {value}" if wanted else f"{where}{name}: {str(error).splitlines()[0]}"


# What a key of a type without a rule must be.
_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _wanted(name: str, known: Mapping[str, Key]) -> str | None:
    """What a key, an item of a list, or all keys below a name must be; None where nothing is known of it."""
    key = known.get(re.sub(r"\[\d+\]$", "", name))
    if key is None:
        return None
    kind = key.type
    if typing.get_origin(kind) is list and name != key.name:
        kind = option_type(typing.get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, Options):
        return f"given by {', '.join(each.name for each in keys(kind))}"
    rule = key.field.metadata["rule"]
    if rule is not None and name == key.name:
        return str(rule.text)
    return "a list" if typing.get_origin(kind) is list else _TYPES.get(kind)


def cut_by_the_shell(word: str, example: str) -> str:
    """That a shell has taken a value apart, or its braces."""
    return f"the shell has taken a value apart and left {word!r}: put the whole word in quotes, as in {example}"


def unknown_key(key: str, command: str) -> str:
    """That a command has no such key, and which it may be."""
    close = closest(key, command)
    hint = f"did you mean {close}? " if close else ""
    return f"unknown key {key}: {hint}{see_help(command)}"


def see_help(command: str) -> str:
    """Where a command's keys are listed."""
    return f"`dcgmm {command} --help` lists the keys"


def given_names(command: str) -> list[str]:
    """All that can stand before the `=` of a command's overrides."""
    return [*(key.name for key in keys(SCHEMAS[command])), *GROUPS.get(command, ())]


def closest(given: str, command: str) -> str | None:
    """The key that a name is most like, whole or in its last part; None if there is none."""
    names = given_names(command)
    whole = {name.rpartition(".")[2]: name for name in reversed(names)} | {name: name for name in names}
    return next((whole[close] for close in difflib.get_close_matches(given, whole, 1)), None)
