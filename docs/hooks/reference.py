"""Pages that are written out of the code: each command's keys, and the public names of each package."""

import ast
import re
from dataclasses import MISSING
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from dcgmm_cli.help import default_text, group_choices, layer_fields, meaning, type_text
from dcgmm_cli.keys import Key, keys
from dcgmm_cli.main import COMMANDS
from dcgmm_cli.schema import GROUPS, SCHEMAS

REPOSITORY = Path(__file__).parents[2]
PACKAGES = (
    "model",
    "training",
    "generation",
    "outliers",
    "clustering",
    "classification",
    "datasets",
    "exporting",
    "sklearn",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code."""
    pages = {"reference/commands/index.md": commands_page()}
    pages |= {f"reference/commands/{name}.md": command_page(name) for name in COMMANDS}
    pages |= {"reference/python/index.md": packages_page(), "reference/python/dcgmm.md": package_page("")}
    pages |= {f"reference/python/{name}.md": package_page(name) for name in PACKAGES}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def commands_page() -> str:
    """All commands, a line each."""
    rows = "\n".join(f"| [`dcgmm {name}`]({name}.md) | {text} |" for name, text in COMMANDS.items())
    return (
        "# Commands\n\n"
        "`dcgmm COMMAND [key=value ...] [Hydra flags]`; `dcgmm COMMAND --help` prints the same keys.\n\n"
        f"| command | what it does |\n|---|---|\n{rows}\n\n"
        "Exit codes: 0; 1 (our fault, with a traceback in the log); 2 (a mistake in what was given, one line); "
        "130 and 143 (Ctrl-C and SIGTERM). The last line on standard output is the directory that was written.\n"
    )


def command_page(name: str) -> str:
    """A command's keys, by the groups that their first parts are."""
    lines = [f"# dcgmm {name}", "", f"{COMMANDS[name].capitalize()}.", ""]
    for group in GROUPS.get(name, ()):
        choices = ", ".join(f"`{choice}`" for choice in group_choices(REPOSITORY / "conf", group))
        lines += [f"`{group}=` takes one of {choices}, or a file of [your own](../../guides/architectures.md).", ""]
    groups: dict[str, list[Key]] = {}
    for key in keys(SCHEMAS[name]):
        groups.setdefault(key.name.rpartition(".")[0], []).append(key)
    for group, members in groups.items():
        if group:
            lines += [f"## {group}", ""]
        lines += key_table(members)
    if "arch" in GROUPS.get(name, ()):
        lines += ["## Layers", "", "What a layer in `arch.layers` is given by.", ""]
        lines += ["| type | field | meaning |", "|---|---|---|"]
        lines += [
            f"| `{kind}` | `{field}` | {cell(text)}{' (needed)' if needed else ''} |"
            for kind, field, text, needed in layer_fields()
        ]
    return "\n".join(lines) + "\n"


def key_table(members: list[Key]) -> list[str]:
    """A row for each key."""
    rows = ["| key | type | default | meaning | must be |", "|---|---|---|---|---|"]
    for key in members:
        rule = key.field.metadata["rule"]
        default = "needed" if key.default is MISSING else f"`{default_text(key.default)}`"
        rows.append(
            f"| `{key.name}` | {cell(type_text(key))} | {default} | {cell(meaning(key))} | "
            f"{cell(rule.text) if rule else ''} |"
        )
    return [*rows, ""]


def cell(text: str) -> str:
    """A text as it can stand in a table."""
    return re.sub(r"([|<*_$\[\]])", r"\\\1", text)


def packages_page() -> str:
    """The packages of the library."""
    rows = "\n".join(f"| [`dcgmm.{name}`]({name}.md) | {cell(summary_of(name))} |" for name in PACKAGES)
    return (
        "# Python\n\n"
        "`import dcgmm` gives the names that most scripts need; each package below has the rest.\n\n"
        "| package | |\n|---|---|\n"
        f"| [`dcgmm`](dcgmm.md) | {cell(summary_of(''))} |\n{rows}\n"
    )


def summary_of(package: str) -> str:
    """The first line of a package's docstring."""
    doc = ast.get_docstring(ast.parse((folder_of(package) / "__init__.py").read_text()))
    assert doc is not None
    return doc.splitlines()[0]


def folder_of(package: str) -> Path:
    """Where a package of the library lies."""
    return REPOSITORY / "src" / "dcgmm" / package


def package_page(package: str) -> str:
    """The public names of a package, each from the module that defines it."""
    title = f"dcgmm.{package}".rstrip(".")
    lines = [f"# {title}", "", summary_of(package), ""]
    elsewhere = set(public_names("")) if package else set()
    names = sorted(public_names(package), key=lambda pair: pair[0].lower())
    if also := [f"[{name}](dcgmm.md#{module}.{name})" for name, module in names if (name, module) in elsewhere]:
        lines += [f"Among [the names of `dcgmm`](dcgmm.md) are {', '.join(also)}.", ""]
    for name, module in names:
        if (name, module) not in elsewhere:
            lines += [f"::: {module}.{name}", ""]
    return "\n".join(lines)


def public_names(package: str) -> list[tuple[str, str]]:
    """Names of a package's stub, modules among them left out, with the module that each comes from."""
    base = f"dcgmm.{package}".rstrip(".")
    found = []
    for node in ast.parse((folder_of(package) / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(alias.name, absolute(base, node)) for alias in node.names]
    return found


def absolute(package: str, node: ast.ImportFrom) -> str:
    """The module that an import in a package's stub is from."""
    if not node.level:
        return str(node.module)
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, str(node.module)])
