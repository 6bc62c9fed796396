"""Hydra's configuration as the command's options."""

from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dcgmm.errors import InputError, OptionError
from dcgmm.options import Options
from dcgmm_cli.explain import explain, unknown_key


def typed(config: DictConfig, command: str) -> Any:
    """The options that a configuration stands for.

    Raises:
        InputError: a key is unknown or missing, or its value out of its range; named by the key, with its dots.
    """
    try:
        return _options(config, "", command)
    except OmegaConfBaseException as error:
        raise InputError(explain(error, command)) from None


def _options(node: DictConfig, path: str, command: str) -> Options:
    kind = OmegaConf.get_type(node)
    assert kind is not None
    assert issubclass(kind, Options)
    known = [each.name for each in fields(kind)]
    below = f"{path}." if path else ""
    for name in map(str, node):
        if name not in known:  # `+key=value` adds what no schema knows
            raise InputError(unknown_key(f"{below}{name}", command))
    values = {name: _value(node[name], f"{below}{name}", command) for name in known}
    try:
        return kind(**values)
    except OptionError as error:
        raise error.under(path) from None


def _value(value: Any, path: str, command: str) -> Any:
    if _is_options(value):
        return _options(value, path, command)
    if isinstance(value, ListConfig) and any(map(_is_options, value)):
        return [_item(item, path, number, command) for number, item in enumerate(value, 1)]
    return OmegaConf.to_object(value) if isinstance(value, DictConfig | ListConfig) else value


def _is_options(value: Any) -> bool:
    kind = OmegaConf.get_type(value) if isinstance(value, DictConfig) else None
    return kind is not None and issubclass(kind, Options)


def _item(value: Any, path: str, number: int, command: str) -> Any:
    """Of a list: a layer of `arch.layers` is layer 1, 2, ..."""
    try:
        return _value(value, "", command)
    except InputError as error:
        kind = path.rpartition(".")[2].removesuffix("s")
        raise InputError(f"{path}: {kind} {number}: {error}") from None
