"""Help of a command, read off the source of its schema: key, type, default, meaning. Imports no library."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Key(NamedTuple):
    """A configuration key as its schema describes it."""

    name: str
    type: str
    default: str
    meaning: str


def command_help(command: str, summary: str, conf: Path) -> str:
    """Help text of a command: its keys and the choices of its config groups."""
    keys = documented_keys(command)
    heads = [f"{key.name}: {key.type} = {key.default}" for key in keys]
    width = min(max(map(len, heads)), 46)
    lines = [
        f"  {head:<{width}}  {key.meaning}" if len(head) <= width else f"  {head}\n  {'':<{width}}  {key.meaning}"
        for head, key in zip(heads, keys, strict=True)
    ]
    primary = (conf / f"{command}.yaml").read_text()
    groups = "".join(
        f"  {folder.name}: {', '.join(sorted(file.stem for file in folder.glob('*.yaml')))}\n"
        for folder in sorted(conf.iterdir())
        if folder.is_dir() and f"- {folder.name}: " in primary
    )
    choices = f"\nchoices (group=choice):\n{groups}" if groups else ""
    words = "[DIR ...] " if command == "results" else ""
    usage = f"usage: dcgmm {command} {words}[key=value ...] [Hydra flags]"
    return f"dcgmm {command}: {summary}\n\n{usage}\n{choices}\nkeys:\n" + "\n".join(lines) + "\n"


def documented_keys(command: str) -> list[Key]:
    """All keys of a command's schema, nested ones with their dots."""
    source = (Path(__file__).parent / "config.py").read_text()
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    return list(_keys(classes[f"{command.capitalize()}Config"], classes, source.splitlines(), ""))


def _keys(node: ast.ClassDef, classes: dict[str, ast.ClassDef], lines: list[str], prefix: str) -> Iterator[Key]:
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _keys(classes[base.id], classes, lines, prefix)
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name, kind = prefix + field.target.id, ast.unparse(field.annotation)
        if kind in classes:
            yield from _keys(classes[kind], classes, lines, f"{name}.")
            continue
        default = _default(field.value) if field.value else "MISSING"
        shown = {"None": "null", "MISSING": "needed", "True": "true", "False": "false"}.get(default, default)
        comment = lines[(field.end_lineno or field.lineno) - 1].partition("  # ")[2]
        yield Key(name, kind.replace(" | None", ""), shown, comment)


def _default(value: ast.expr) -> str:
    """Source of a default; of a list's factory, the list."""
    if isinstance(value, ast.Call):
        factory = value.keywords[0].value
        return ast.unparse(factory.body) if isinstance(factory, ast.Lambda) else "[]"
    return ast.unparse(value)
