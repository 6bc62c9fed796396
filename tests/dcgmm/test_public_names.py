"""Every public name is explained: a docstring of its own, an example that runs, all arguments."""

import ast
import doctest
import enum
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import dcgmm

PACKAGE = Path(dcgmm.__file__).parent
Name = tuple[str, str, str]  # package, module in it, name


def public_names() -> list[Name]:
    """All that the stubs give away but packages, each once."""
    found: dict[tuple[str, str], Name] = {}
    for stub in sorted(PACKAGE.rglob("__init__.pyi")):
        package = ".".join(("dcgmm", *stub.parent.relative_to(PACKAGE).parts))
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    module = importlib.util.resolve_name(f".{node.module}", package)
                    found[module, alias.name] = package, module, alias.name
    return list(found.values())


NAMES = public_names()


def docstring(module: str, name: str) -> str:
    """Its own, not one that it inherits; of a constant what its module says."""
    source = importlib.import_module(module)
    value = getattr(source, name)
    if inspect.isclass(value):
        return inspect.cleandoc(vars(value)["__doc__"] or "")
    return inspect.cleandoc((value if inspect.isfunction(value) else source).__doc__ or "")


def documented_arguments(text: str) -> set[str]:
    section = re.search(r"^Args:\n((?: .*\n|\n)*)", f"{text}\n", flags=re.MULTILINE)
    entries = re.findall(r"^    (\w[\w, ]*):", section[1] if section else "", flags=re.MULTILINE)
    return {name.strip() for entry in entries for name in entry.split(",")}


def arguments(value: Any) -> set[str]:
    """Those of a function, or of a class that is made of some; options and results say what their fields are."""
    if inspect.isclass(value) and (issubclass(value, enum.Enum | tuple) or hasattr(value, "__dataclass_fields__")):
        return set()
    if inspect.isclass(value) and "__init__" not in vars(value):
        return set()
    return set(inspect.signature(value).parameters)


@pytest.mark.parametrize("public", NAMES, ids=lambda public: ".".join(public[::2]))
def test_every_public_name_has_an_example_that_is_run(public: Name) -> None:
    _, module, name = public
    text = docstring(module, name)
    examples = doctest.DocTestParser().get_examples(text)
    assert "Examples:" in text.splitlines()
    assert any(example.want for example in examples)
    assert name in text or callable(getattr(importlib.import_module(module), name))
    assert not any(doctest.SKIP in example.options for example in examples)


@pytest.mark.parametrize("public", NAMES, ids=lambda public: ".".join(public[::2]))
def test_every_argument_of_a_public_name_is_explained(public: Name) -> None:
    _, module, name = public
    value = getattr(importlib.import_module(module), name)
    if callable(value):
        assert arguments(value) <= documented_arguments(docstring(module, name))
