"""A user's own configuration files (`--config-dir`): checked before Hydra reads them.

Hydra and Python's logging instantiate what a configuration tells them to, and such a file may be another's: it may say
what the command's own keys are, and of Hydra's where runs are written and how sweeps are launched, but no more.
"""

import re
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf._utils import get_yaml_loader

from dcgmm.datasets.options import DatasetOptions
from dcgmm.errors import InputError
from dcgmm.files import read_text
from dcgmm.model.options import Architecture
from dcgmm.options import Options, option_type
from dcgmm_cli.schema import GROUPS, SCHEMAS
from dcgmm_cli.yaml_files import read_yaml

_KINDS: dict[str, type[Options]] = {"arch": Architecture, "dataset": DatasetOptions}
_OF_HYDRA = {"run": ("dir",), "sweep": ("dir", "subdir"), "sweeper": ("params",), "launcher": None}


def check_own_files(folder: str, command: str, overrides: Iterable[str]) -> None:
    """Check the files of a directory that Hydra may read: those of the groups that a command line names.

    Raises:
        InputError: there is no such directory, or a file in it is no YAML, has a key that its command or group does not
            know, or one that would run something; named by file and key.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"--config-dir={folder} is no directory; give one with arch/ or dataset/ in it")
    given = {re.split("[@=]", word.lstrip("+~"))[0] for word in overrides}
    for group in sorted({*GROUPS.get(command, ()), *given}):
        files = sorted((root / group).rglob("*.yaml"))
        if files and group.partition("/")[0] == "hydra":
            raise InputError(f"{files[0]}: files of one's own are not for Hydra's groups")
        for path in files:
            _check(path, _KINDS.get(group), command)


def _check(path: Path, kind: type[Options] | None, command: str) -> None:
    content = read_yaml(path, get_yaml_loader())  # keys that stand twice are refused, as Hydra will
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no keys: give each on a line, as in `seed: 1`")
    package = re.search(r"^\s*#\s*@package\s+(\S+)", read_text(path), re.MULTILINE)
    if package is not None and package[1] != "_global_":
        raise InputError(f"{path}: `@package {package[1]}` is not for files of one's own; _global_ is")
    if package is None and kind is not None:
        _check_keys(content, kind, path)
        return
    own = {key: value for key, value in content.items() if key != "hydra"}
    _check_keys(own, SCHEMAS[command], path, more=("hydra",))
    _check_hydra(content.get("hydra", {}), path, [field.name for field in fields(SCHEMAS[command])])


def _check_keys(
    content: Mapping[Any, Any], kind: type[Options], path: Path, above: str = "", more: Collection[str] = ()
) -> None:
    hints = typing.get_type_hints(kind)
    for key, value in content.items():
        if key not in hints:
            known = ", ".join([*hints, *more])
            raise InputError(f"{path}: unknown key {above}{key}; the keys are {known}")
        inner = option_type(hints[key])
        (inner,) = typing.get_args(inner) if typing.get_origin(inner) is list else (inner,)
        if isinstance(inner, type) and issubclass(inner, Options):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Mapping):
                    _check_keys(part, inner, path, f"{above}{key}.")


def _check_hydra(content: Any, path: Path, known: Collection[str]) -> None:
    for group, values in content.items() if isinstance(content, Mapping) else []:
        allowed = _OF_HYDRA.get(group, ())
        for key, value in values.items() if isinstance(values, Mapping) else [("", values)]:
            plain = value if group == "sweeper" and isinstance(value, Mapping) else {}
            is_value = not isinstance(value, Mapping | list) and not str(key).startswith("_")
            if not ((key == "params" and plain) or (is_value and (allowed is None or key in allowed))):
                raise InputError(f"{path}: hydra.{group}.{key} is not for files of one's own".replace(". ", " "))
            for swept in plain:
                if re.split(r"[./]", str(swept))[0] not in known:
                    raise InputError(
                        f"{path}: hydra.sweeper.params: unknown key {swept}; the keys are {', '.join(known)}"
                    )
