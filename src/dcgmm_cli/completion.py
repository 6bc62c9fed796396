"""Completion of a command line: scripts for shells, and the words that they ask for. Imports nothing slow."""

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dcgmm_cli.help import group_choices
from dcgmm_cli.keys import Key, keys
from dcgmm_cli.schema import GROUPS, SCHEMAS
from dcgmm_cli.schema_train import TrainConfig

SHELLS = ("bash", "zsh")
FLAGS = ("--help", "--multirun", "--cfg", "--config-dir", "--info", "--hydra-help")
_DIR_FLAGS = ("--config-dir", "-cd")
_OF_FLAGS = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all"), **dict.fromkeys(_DIR_FLAGS, ())}

# The shell splits words at `=` or not: what stands before one that it splits at is no part of the answer. What is not
# answered the shell completes as the name of a file.
_BASH = """\
_dcgmm() {
    local line="${COMP_LINE:0:$COMP_POINT}" IFS=$'\\n'
    local word="${line##*[[:space:]]}"
    COMPREPLY=( $(dcgmm completion --line "$line" 2>/dev/null) )
    if [[ "${COMP_WORDBREAKS-}" == *=* && "$word" == *=* ]]; then
        COMPREPLY=( "${COMPREPLY[@]#"${word%"${word##*=}"}"}" )
    fi
    if [[ "${COMPREPLY[*]}" != *[=/,] ]]; then
        compopt +o nospace 2>/dev/null
    fi
    return 0
}
complete -o nospace -o default -F _dcgmm dcgmm"""


def script(shell: str) -> str:
    """What a shell evaluates to complete the words after `dcgmm`."""
    return f"autoload -Uz bashcompinit && bashcompinit\n{_BASH}" if shell == "zsh" else _BASH


def completions(line: str, conf: Path) -> list[str]:
    """What the last word of a line can become; nothing where it may be a file.

    Args:
        line: what stands before the cursor, from the program's name on.
        conf: the tree of configurations.
    """
    words = line.split()
    if not words or line[-1].isspace():
        words.append("")
    _, *before, word = words
    if not before:
        return _starting(word, [*SCHEMAS, "completion", "--help", "--version"])
    command = before[0]
    if command == "completion":
        return _starting(word, SHELLS)
    if command not in SCHEMAS:
        return []
    if before[-1] in _OF_FLAGS:
        return _starting(word, _OF_FLAGS[before[-1]])
    if word.startswith("-"):
        return _starting(word, FLAGS)
    name, equals, value = word.partition("=")
    if not equals:
        return _starting(word, [f"{key.name}=" for key in keys(SCHEMAS[command])] + _groups(command))
    if name == "run":
        return [f"run={run}" for run in _runs(value, _runs_dir(before))]
    # Of several values, in a sweep or a list, the last.
    found = re.fullmatch(r"(.*[,\[])?(.*)", value)
    assert found is not None
    return [f"{name}={found[1] or ''}{choice}" for choice in _starting(found[2], _choices(command, name, before, conf))]


def _starting(word: str, choices: Iterable[str]) -> list[str]:
    return [choice for choice in choices if choice.startswith(word)]


def _groups(command: str) -> list[str]:
    return [f"{group}=" for group in GROUPS.get(command, ())]


def _choices(command: str, name: str, before: Sequence[str], conf: Path) -> list[str]:
    """What can stand after `name=`."""
    if name in GROUPS.get(command, ()):
        own = [Path(given).expanduser() for flag, given in itertools.pairwise(before) if flag in _DIR_FLAGS]
        own += [Path(word.partition("=")[2]).expanduser() for word in before if word.startswith("--config-dir=")]
        return sorted({choice for directory in (conf, *own) for choice in group_choices(directory, name)})
    return next((_values(key) for key in keys(SCHEMAS[command]) if key.name == name), [])


def _values(key: Key) -> list[str]:
    if key.type is bool:
        return ["true", "false"]
    return [*key.choices, *(["null"] if key.choices and key.default is None else [])]


def _runs_dir(before: Sequence[str]) -> Path:
    given = [word.partition("=")[2] for word in before if word.startswith("runs_dir=")]
    return Path(given[-1] if given else TrainConfig.runs_dir).expanduser()


def _runs(value: str, runs_dir: Path) -> list[str]:
    """`latest`, directories with runs, and in one of these its runs; of a path nothing."""
    group, slash, start = value.rpartition("/")
    if value.startswith(("/", ".", "~")):
        return []
    try:
        names = sorted(entry.name for entry in os.scandir(runs_dir / group) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    names = [name for name in names if not name.startswith(".")]
    if slash:
        return [f"{group}/{name}" for name in _starting(start, names)]
    return _starting(value, [*(["latest"] if (runs_dir / "latest").is_dir() else []), *(f"{name}/" for name in names)])
