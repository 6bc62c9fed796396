"""Imports run one way. The modules stand below from the bottom up; each may import those under it."""

import ast
import functools
import sys
from pathlib import Path

import pytest

import dcgmm_cli

PACKAGE = Path(dcgmm_cli.__file__).parent

COMPUTES = [
    "model",
    "statistics",
    "training",
    "sampling",
    "sharpening",
    "pixel_mixture",
    "outliers",
    "detection",
    "localisation",
]
COMPUTES += ["quality", "clustering"]

# A module, or a package as a whole, and the parts of dcgmm_cli that it may import.
BASE = {"", "errors"}
MODEL = BASE | {"model"}
METRICS = MODEL | {"statistics"}
FILES = BASE | {"runs"}
ALLOWED = {
    "": set(),
    "errors": set(),
    "compiled": set(),
    # The model: shapes, gaussian and annealing <- layers <- dcgmm.
    "model.shapes": BASE,
    "model.gaussian": BASE,
    "model.annealing": BASE,
    "model.native": BASE | {"compiled", "model.shapes"},
    "model.patches": BASE | {"model.shapes", "model.native"},
    "model.folding": BASE | {"model.shapes", "model.patches"},
    "model.pooling": BASE | {"model.shapes"},
    "model.power": BASE | {"model.shapes"},
    "model.gmm": BASE | {"model.shapes", "model.gaussian", "model.annealing", "model.native", "model.patches"},
    "model.dcgmm": BASE
    | {"model.shapes", "model.folding", "model.pooling", "model.power", "model.patches", "model.gmm"},
    "model": MODEL,
    # What is computed with a model: knows neither files nor configuration.
    "statistics": MODEL,
    "training": METRICS,
    "sampling": METRICS,
    "sharpening": METRICS | {"sampling"},
    "pixel_mixture": MODEL,
    "outliers": METRICS | {"pixel_mixture"},
    "detection": METRICS,
    "localisation": METRICS | {"outliers"},
    "quality": METRICS,
    "clustering": METRICS | {"clustering"},
    # Files, machine, terminal, pictures, data.
    "runs": BASE,
    "runtime": BASE,
    "interruption": BASE,
    "results": FILES,
    "sweeps": FILES,
    "logs": BASE,
    "progress": BASE,
    "config": BASE,
    "checkpoints": MODEL | FILES,
    "plots": {*FILES, *COMPUTES},  # pictures of any result
    "datasets": FILES | {"datasets", "config"},
    "trained": METRICS | FILES | {"checkpoints", "config", "datasets", "runtime"},
    # The command line.
    "help": BASE,
    "hydra_glue": FILES | {"config", "sweeps"},
    "task": FILES | {"interruption", "config", "hydra_glue", "sweeps"},
    "cli": BASE | {"help", "hydra_glue", "interruption", "sweeps", "task"},
}
CONFIGURATION = {"hydra", "omegaconf", "yaml"}
FILE_ACCESS = {"pathlib", "os", "io", "shutil", "tempfile", "json", "pickle"}

MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix("__init__").rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def within(module: str, part: str) -> bool:
    return module == part or (bool(part) and module.startswith(f"{part}."))


@functools.cache
def imports(path: Path, *, at_top: bool = False) -> set[str]:
    """Full names of all imported modules; `at_top` leaves out what functions import when they are called."""
    tree = ast.parse(path.read_text())
    deferred = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if at_top and id(node) in deferred:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for alias in node.names:
                # `from package import module` imports the module.
                inner = f"{module}.{alias.name}"
                found.add(inner if inner.removeprefix("dcgmm_cli.") in MODULES else module)
    return found


def own(found: set[str]) -> set[str]:
    """Of imported names those of this package, without its name: '' is its `__init__`."""
    return {name.removeprefix("dcgmm_cli").lstrip(".") for name in found if within(name, "dcgmm_cli")}


def outside(found: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in found}


def members(part: str) -> list[Path]:
    return [path for module, path in MODULES.items() if within(module, part)]


def test_the_reading_of_imports(tmp_path: Path) -> None:
    source = """
import os.path, torch
from dcgmm_cli import __version__, runs
from dcgmm_cli.model import GMM
from dcgmm_cli.model.gmm import Scored
def later():
    import hydra
"""
    (tmp_path / "x.py").write_text(source)
    found = imports(tmp_path / "x.py")
    assert own(found) == {"", "runs", "model", "model.gmm"}
    assert outside(found) == {"os", "torch", "dcgmm_cli", "hydra"}
    assert outside(imports(tmp_path / "x.py", at_top=True)) == {"os", "torch", "dcgmm_cli"}


@pytest.mark.parametrize("module", [module for module in MODULES if not within(module, "commands")])
def test_a_module_imports_only_what_lies_under_it(module: str) -> None:
    # The most special entry holds: model.gmm before model.
    parts = [part for part in ALLOWED if within(module, part)]
    assert parts, f"give {module} its place in ALLOWED"
    allowed = ALLOWED[max(parts, key=len)]
    wrong = [name for name in own(imports(MODULES[module])) if not any(within(name, part) for part in allowed)]
    assert not wrong, f"{module} imports {wrong}"


def test_nothing_but_the_dispatch_by_name_knows_the_commands() -> None:
    for module, path in MODULES.items():
        used = [name for name in own(imports(path)) if within(name, "commands")]
        assert within(module, "commands") or not used, f"{module} imports {used}"


def test_commands_do_not_import_the_command_line() -> None:
    for path in members("commands"):
        assert not own(imports(path)) & {"cli", "task", "hydra_glue", "help"}, path.name


@pytest.mark.parametrize("part", COMPUTES)
def test_computations_know_neither_configuration_nor_files(part: str) -> None:
    for path in members(part):
        assert not outside(imports(path)) & (CONFIGURATION | FILE_ACCESS), path.name


def test_only_the_command_line_and_configuration_know_hydra() -> None:
    users = {module for module, path in MODULES.items() if "hydra" in outside(imports(path))}
    assert users == {"cli", "hydra_glue", "task"}


def test_only_one_module_imports_torchvision() -> None:
    users = [module for module, path in MODULES.items() if "torchvision" in outside(imports(path))]
    assert all(within(module, "datasets.vision") for module in users)


@pytest.mark.parametrize("module", ["", "errors", "cli", "help", "config"])
def test_help_imports_nothing_slow(module: str) -> None:
    quick = {"dcgmm_cli", "omegaconf"} if module == "config" else {"dcgmm_cli"}
    assert outside(imports(MODULES[module], at_top=True)) <= quick | sys.stdlib_module_names
