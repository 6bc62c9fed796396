"""Help of a command, read off its schema: key, type, default, meaning. Imports nothing slow."""

import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from typing import Any

from dcgmm.model.options import FIELDS, LayerOptions
from dcgmm.options import Options
from dcgmm_cli.keys import Key, keys
from dcgmm_cli.schema import GROUPS, SCHEMAS

_WIDEST = 46  # a key with type and default, beside what it means


def command_help(command: str, summary: str, conf: Path) -> str:
    """Help text of a command: its keys and the choices of its config groups."""
    described = [(head(key), meaning(key)) for key in keys(SCHEMAS[command])]
    width = min(max(len(first) for first, _ in described), _WIDEST)
    lines = [
        f"  {first:<{width}}  {text}" if len(first) <= width else f"  {first}\n  {'':<{width}}  {text}"
        for first, text in described
    ]
    groups = "".join(f"  {group}: {_marked_choices(conf, command, group)}\n" for group in GROUPS.get(command, ()))
    choices = f"\nchoices (group=choice):\n{groups}" if groups else ""
    choices += _layers() if "arch" in GROUPS.get(command, ()) else ""
    words = "[DIR ...] " if command == "results" else ""
    usage = f"usage: dcgmm {command} {words}[key=value ...] [Hydra flags]"
    return f"dcgmm {command}: {summary}\n\n{usage}\n{choices}\nkeys:\n" + "\n".join(lines) + "\n"


def group_choices(conf: Path, group: str) -> list[str]:
    """Names of a group's files in a tree of configurations."""
    return sorted(file.stem for file in (conf / group).glob("*.yaml"))


def _marked_choices(conf: Path, command: str, group: str) -> str:
    """A group's choices, the default one marked."""
    chosen = re.search(rf"^\s*- {group}: (\S+)", (conf / f"{command}.yaml").read_text(), re.MULTILINE)
    default = chosen[1] if chosen else None
    return ", ".join(f"{name} (default)" if name == default else name for name in group_choices(conf, group))


def _layers() -> str:
    """What a layer of each type is given by."""
    lines = ["\nlayers (arch.layers, quoted as a whole: 'arch.layers=[{type:folding,kernel:[7,7]},{type:gmm,...}]'):"]
    for kind, name, text, needed in layer_fields():
        if needed:  # its first
            lines.append(f"  type: {kind}")
        lines.append(f"    {name}: {text}{' (needed)' if needed else ''}")
    return "\n".join(lines) + "\n"


def layer_fields() -> Iterator[tuple[str, str, str, bool]]:
    """Type of layer, field, what it means, whether it is needed; the needed one is a type's first."""
    described = {key.name: key for key in keys(LayerOptions)}
    for kind, names in FIELDS.items():
        for name in names:
            text = str(described[name].field.metadata["help"])
            yield kind, name, re.sub(r"^[a-z, ]+: ", "", text), name == names[0]


def head(key: Key) -> str:
    """A key with its type and default."""
    return f"{key.name}: {type_text(key)} = {default_text(key.default)}"


def meaning(key: Key) -> str:
    """What a key means, with the choices that this leaves open."""
    text = str(key.field.metadata["help"])
    unnamed = key.choices if not key.is_enumeration and any(choice not in text for choice in key.choices) else ()
    return f"{text}: {', '.join(unnamed)}" if unnamed else text


def type_text(key: Key) -> str:
    """A key's type, or its choices where it takes nothing else."""
    if key.is_enumeration:
        return "|".join(key.choices)
    inner = typing.get_args(key.type)
    if inner and isinstance(inner[0], type) and issubclass(inner[0], Options):
        return "list"
    return getattr(key.type, "__name__", str(key.type)) if not inner else f"list[{inner[0].__name__}]"


def default_text(default: Any) -> str:
    """A default as it would be given."""
    if default is MISSING:
        return "needed"
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    if isinstance(default, list):
        return f"[{','.join(map(default_text, default))}]"
    return str(default.value if isinstance(default, Enum) else default)
