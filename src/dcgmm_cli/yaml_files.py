"""YAML files of others: plain data, read within bounds, faults named by file and line."""

from pathlib import Path
from typing import Any

import yaml

from dcgmm.errors import InputError
from dcgmm.files import DEEPEST, read_text

LARGEST = 100_000  # values in a file, with each alias written out


def read_yaml(path: Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """What a YAML file says.

    Raises:
        InputError: it cannot be read, or is no YAML, nested too deeply or, with its aliases written out, too large.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.yaml"
        ...     _ = path.write_text("rate: 0.5")
        ...     read_yaml(path)
        {'rate': 0.5}
    """
    text = read_text(path)
    try:
        _check_depth(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and _size(node, {}) > LARGEST:
            raise InputError(f"{path} holds more than {LARGEST:,} values, its aliases written out")
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}{_where(error)}: {_what(error)}") from None
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{path} is no YAML: {error}") from None


def _check_depth(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise InputError(f"{path}, line {event.start_mark.line + 1}: it is nested more than {DEEPEST} times")


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Values in a node, those of one that stands in several places counted there each."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # what holds itself has no end
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_size(each, known) for each in flat)
    return known[id(node)]


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _what(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or str(error).splitlines()[0]
