"""What a run was given, beside the defaults, and the command that does it again: read off its configuration alone."""

import shlex
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from dcgmm.architectures import arch as architecture
from dcgmm.errors import InputError
from dcgmm.model.options import Architecture
from dcgmm.options import made, plain
from dcgmm_cli.keys import keys
from dcgmm_cli.overrides import value_text
from dcgmm_cli.schema import GROUPS, SCHEMAS


def settings_beside_defaults(command: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and groups of a run's configuration that were not at their default; where something ran is none of them.

    Keys that the configuration lacks, as one of an earlier version does, are passed over.

    Args:
        command: of the run.
        config: its configuration, as `meta.json` has it.
    """
    groups = GROUPS.get(command, ())
    arch = config.get("arch") if "arch" in groups else None
    named = isinstance(arch, Mapping) and _is_known(arch)
    found = {}
    for key in keys(SCHEMAS[command]):
        value = _look_up(config, key.name)
        if value is MISSING or key.field.metadata["incidental"] or value == plain(key.default):
            continue
        group, _, name = key.name.partition(".")
        if group == "arch" and named:
            found["arch"] = config["arch"]["name"]
        elif not (command == "train" and key.name == "run"):
            found[group if group in groups and group != "arch" and name == "name" else key.name] = value
    return found


def command_to_repeat(command: str, config: Mapping[str, Any]) -> str:
    """The command line that does a run again, wherever it is typed."""
    settings = settings_beside_defaults(command, config)
    return shlex.join(["dcgmm", command, *(f"{name}={value_text(value)}" for name, value in settings.items())])


def _look_up(config: Any, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return MISSING
        config = config[part]
    return config


def _is_known(arch: Mapping[str, Any]) -> bool:
    """Whether an architecture is what its name stands for."""
    try:
        return architecture(arch["name"]) == made(Architecture, arch)
    except (KeyError, TypeError, InputError):
        return False
