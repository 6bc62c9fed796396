"""Help of a command, read off the source of its schema: key, type, default, meaning. Imports no library."""

import ast
from collections.abc import Iterator
from pathlib import Path


def command_help(command: str, summary: str, conf: Path) -> str:
    """Help text of a command: its keys and the choices of its config groups."""
    source = (Path(__file__).parent / "config.py").read_text()
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    rows = list(_rows(classes[f"{command.capitalize()}Config"], classes, source.splitlines(), ""))
    width = min(max(len(head) for head, _ in rows), 46)
    keys = "\n".join(
        f"  {head:<{width}}  {text}" if len(head) <= width else f"  {head}\n  {'':<{width}}  {text}"
        for head, text in rows
    )
    top = {head.split(".")[0].split(":")[0] for head, _ in rows}
    groups = "".join(
        f"  {folder.name}: {', '.join(sorted(file.stem for file in folder.glob('*.yaml')))}\n"
        for folder in sorted(conf.iterdir())
        if folder.is_dir() and folder.name in top
    )
    choices = f"\nchoices (group=choice):\n{groups}" if groups else ""
    usage = f"usage: dcgmm {command} [key=value ...] [Hydra flags]"
    return f"dcgmm {command}: {summary}\n\n{usage}\n{choices}\nkeys:\n{keys}\n"


def _rows(
    node: ast.ClassDef, classes: dict[str, ast.ClassDef], lines: list[str], prefix: str
) -> Iterator[tuple[str, str]]:
    """Key with type and default, and its comment, for each field; nested classes are walked into."""
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _rows(classes[base.id], classes, lines, prefix)
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        name, kind = prefix + field.target.id, ast.unparse(field.annotation)
        if kind in classes:
            yield from _rows(classes[kind], classes, lines, f"{name}.")
            continue
        default = ast.unparse(field.value) if field.value else "MISSING"
        shown = {"None": "null", "MISSING": "needed", "True": "true", "False": "false"}.get(default, default)
        comment = lines[(field.end_lineno or field.lineno) - 1].partition("  # ")[2]
        yield f"{name}: {kind.replace(' | None', '')} = {shown}", comment
