"""Imports run one way. The modules stand below from the bottom up; each may import those under it."""

import ast
import functools
import sys
from pathlib import Path

import pytest

import dcgmm

SOURCES = Path(dcgmm.__file__).parents[1]
PACKAGES = ("dcgmm", "dcgmm_cli")

# A module, or a package as a whole, and what it may import of the library. Alone, `dcgmm` is its `__init__`.
BASE = {"dcgmm.errors", "dcgmm.options"}
FORMULAS = {
    *(f"dcgmm.model.{name}" for name in ("options", "arrays", "shapes", "gaussian", "factors", "conditionals")),
    *(f"dcgmm.model.{name}" for name in ("annealing", "native", "fused", "patches")),
}
LAYERS = {
    f"dcgmm.model.{name}"
    for name in ("folding", "pooling", "scored", "gmm", "factor_step", "factor_gmm", "layers", "observed")
}
MODEL = BASE | FORMULAS | LAYERS | {"dcgmm.images", "dcgmm.model.stack"}
LIBRARY: dict[str, set[str]] = {
    "dcgmm": set(),
    "dcgmm.errors": set(),
    "dcgmm.options": {"dcgmm.errors"},
    "dcgmm.files": {"dcgmm.errors"},
    "dcgmm.images": {"dcgmm.errors"},
    "dcgmm.runtime": {"dcgmm.errors"},
    "dcgmm.background": set(),
    "dcgmm.graphs": set(),
    "dcgmm.distributed": {"dcgmm.errors"},
    # The model: formulas <- layers <- stack.
    "dcgmm.model.options": BASE,
    "dcgmm.model.shapes": BASE,
    "dcgmm.model.gaussian": BASE,
    "dcgmm.model.factors": BASE | {"dcgmm.model.native", "dcgmm.model.gaussian"},
    "dcgmm.model.conditionals": BASE | {"dcgmm.model.gaussian", "dcgmm.model.factors"},
    "dcgmm.model.annealing": BASE,
    "dcgmm.model.arrays": BASE,
    "dcgmm.model.native": BASE
    | {"dcgmm.files", *(f"dcgmm.model.{name}" for name in ("native", "annealing", "arrays", "shapes"))},
    "dcgmm.model.fused": BASE | {"dcgmm.model.fused", "dcgmm.model.shapes"},
    "dcgmm.model.patches": BASE | {"dcgmm.model.native", "dcgmm.model.fused", "dcgmm.model.shapes"},
    "dcgmm.model.folding": BASE | FORMULAS,
    "dcgmm.model.pooling": BASE | FORMULAS,
    "dcgmm.model.scored": BASE | FORMULAS,
    "dcgmm.model.gmm": BASE | FORMULAS | {"dcgmm.model.scored"},
    "dcgmm.model.factor_step": BASE | FORMULAS | {"dcgmm.model.gmm", "dcgmm.model.scored"},
    "dcgmm.model.factor_gmm": BASE | FORMULAS | {"dcgmm.model.gmm", "dcgmm.model.scored", "dcgmm.model.factor_step"},
    "dcgmm.model.layers": BASE | FORMULAS | LAYERS | {"dcgmm.runtime"},
    "dcgmm.model.observed": BASE | FORMULAS | LAYERS | {"dcgmm.images"},
    "dcgmm.model.stack": MODEL | {"dcgmm.runtime"},
    "dcgmm.model": MODEL,
    # What is computed with a model. Neither knows another, nor files.
    "dcgmm.training": MODEL
    | {f"dcgmm.{name}" for name in ("background", "distributed", "graphs", "runtime", "training")},
    "dcgmm.generation": MODEL | {"dcgmm.graphs", "dcgmm.runtime", "dcgmm.generation"},
    "dcgmm.outliers": MODEL | {"dcgmm.distributed", "dcgmm.outliers"},
    "dcgmm.clustering": MODEL | {"dcgmm.clustering"},
    "dcgmm.classification": MODEL | {"dcgmm.classification"},
    # Images from files, beside all that.
    "dcgmm.datasets": BASE | {"dcgmm.files", "dcgmm.images", "dcgmm.runtime", "dcgmm.datasets"},
    # Models from and to files, and as others know them.
    "dcgmm.architectures": BASE | {"dcgmm.model.options"},
    "dcgmm.density": MODEL | {"dcgmm.outliers"},
    "dcgmm.states": MODEL,
    "dcgmm.checkpoints": MODEL
    | {
        f"dcgmm{name}" for name in ("", ".background", ".states", ".files", ".outliers", ".classification", ".datasets")
    },
    "dcgmm.exporting": MODEL | {"dcgmm", "dcgmm.exporting", "dcgmm.files", "dcgmm.outliers"},
    "dcgmm.judges": BASE | {"dcgmm.files", "dcgmm.generation"},
    "dcgmm.sklearn": MODEL
    | {
        f"dcgmm.{name}"
        for name in (
            *("architectures", "classification", "density", "generation", "outliers", "runtime", "sklearn", "training"),
        )
    },
}
COMPUTES = ("model", "training", "generation", "outliers", "clustering", "classification")

# The command line: what each part may import of it. It may import the library, and the modules for `--help` only what
# is quick there.
RECORDS = {"job", "runs", "records", "starts", "keys", "schema", "schema_in_place", "schema_train"}
RUNNER: dict[str, set[str]] = {
    "": set(),
    "interruption": set(),
    "logs": set(),
    "terminal": set(),
    "headlines": set(),
    "progress": set(),
    "keys": set(),
    "schema_in_place": set(),
    "schema_train": set(),
    "schema": {"keys", "schema_in_place", "schema_train"},
    "help": {"keys", "schema"},
    "completion": {"keys", "schema", "schema_train", "help"},
    "job": {"interruption"},
    "runs": set(),
    "records": {"job", "runs"},
    "starts": {"runs"},
    "figures": {"figures"},
    # What several commands share.
    "overrides": set(),
    "reports": RECORDS | {"headlines", "overrides", "reports", "results"},
    "results": RECORDS | {"headlines", "results", "yaml_files"},
    "trained": RECORDS | {"progress", "results"},
    "draws": RECORDS | {"progress"},
    "array_files": set(),
    "masks": RECORDS | {"array_files"},
    "labels": RECORDS | {"trained"},
    "variants": RECORDS | {"array_files", "trained"},
    "quality": RECORDS | {"progress", "terminal", "trained"},
    "loggers": {"loggers", "keys", "runs", "records"},
    "checkpointing": set(),
    "trainings": RECORDS | {"checkpointing", "figures", "interruption", "loggers", "progress"},
    "commands": RECORDS
    | {
        "commands",
        "draws",
        "figures",
        "headlines",
        "labels",
        "leftovers",
        "loggers",
        "masks",
        "progress",
        "quality",
        "reports",
        "results",
        "terminal",
        "trained",
        "trainings",
        "variants",
    },
    # From the command line to a command, by Hydra.
    "explain": {"keys", "schema"},
    "typed": {"explain"},
    "yaml_files": set(),
    "own_files": {"schema", "yaml_files"},
    "leftovers": {"records", "runs"},
    "faults": {"keys", "schema"},
    "sweeps": RECORDS | {"headlines"},
    "hydra_glue": RECORDS | {"explain", "overrides", "own_files", "sweeps"},
    "launch": {"hydra_glue", "interruption", "job", "runs", "starts"},
    "composing": set(),
    "studies": {"records", "sweeps"},
    "sweep_start": {"composing", "explain", "headlines", "hydra_glue", "studies", "sweeps"},
    "task": RECORDS | {"faults", "headlines", "interruption", "leftovers", "hydra_glue", "logs", "sweeps", "typed"},
    "endings": {"explain", "faults", "leftovers", "studies"},
    "main": {
        "completion",
        "endings",
        "help",
        "hydra_glue",
        "interruption",
        "job",
        "launch",
        "logs",
        "sweep_start",
        "sweeps",
        "task",
    },
    "__main__": {"main"},
}
GLUE = {"composing", "explain", "typed", "own_files", "hydra_glue", "sweep_start", "task", "endings"}

MODULES = {
    path.relative_to(SOURCES).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((SOURCES / package).rglob("*.py"))
}
OF_LIBRARY = [module for module in MODULES if module.partition(".")[0] == "dcgmm"]
OF_RUNNER = [module for module in MODULES if module.partition(".")[0] == "dcgmm_cli"]

# Imported for `--help` and completion: nothing of these may import anything slow.
QUICK = {"dcgmm", *(module for module in MODULES if module.endswith((".errors", ".options")))}
QUICK |= {package.rpartition(".")[0] for package in QUICK} - {""}
QUICK |= {
    f"dcgmm_cli.{name}"
    for name in (
        "main",
        "help",
        "keys",
        "schema",
        "schema_in_place",
        "schema_train",
        "completion",
        "job",
        "interruption",
    )
}
QUICK |= {"dcgmm_cli"}


def within(module: str, part: str) -> bool:
    return module == part or (part not in PACKAGES and module.startswith(f"{part}."))


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
                found.add(inner if inner in MODULES else module)
    return found


def of(package: str, found: set[str]) -> set[str]:
    """Of imported names those of a package."""
    return {name for name in found if name.partition(".")[0] == package}


def outside(found: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in found}


def allowed(module: str, table: dict[str, set[str]]) -> set[str]:
    """What a module may import; the most special entry holds: model.gmm before model."""
    parts = [part for part in table if within(module, part)]
    assert parts, f"give {module} its place in the table"
    return table[max(parts, key=len)]


def users(*names: str) -> set[str]:
    return {module for module, path in MODULES.items() if outside(imports(path)) & set(names)}


def test_the_reading_of_imports(tmp_path: Path) -> None:
    source = """
import os.path, torch
from dcgmm import __version__, files
from dcgmm.model import GMM
from dcgmm.model.gmm import Scored
def later():
    import hydra
"""
    (tmp_path / "x.py").write_text(source)
    found = imports(tmp_path / "x.py")
    assert of("dcgmm", found) == {"dcgmm", "dcgmm.files", "dcgmm.model", "dcgmm.model.gmm"}
    assert outside(found) == {"os", "torch", "dcgmm", "hydra"}
    assert outside(imports(tmp_path / "x.py", at_top=True)) == {"os", "torch", "dcgmm"}


@pytest.mark.parametrize("module", OF_LIBRARY)
def test_a_module_of_the_library_imports_only_what_lies_under_it(module: str) -> None:
    below = allowed(module, LIBRARY)
    found = of("dcgmm", imports(MODULES[module]))
    wrong = [name for name in found if not any(within(name, part) for part in below)]
    assert not wrong, f"{module} imports {wrong}"


def test_the_library_knows_no_command_line_and_no_configuration() -> None:
    for module in OF_LIBRARY:
        found = outside(imports(MODULES[module]))
        assert not found & {"dcgmm_cli", "hydra", "omegaconf", "rich", "matplotlib"}, module


@pytest.mark.parametrize("module", OF_RUNNER)
def test_a_module_of_the_runner_imports_only_what_lies_under_it(module: str) -> None:
    table = {f"dcgmm_cli.{part}".rstrip("."): {f"dcgmm_cli.{name}" for name in below} for part, below in RUNNER.items()}
    below = allowed(module, table)
    found = of("dcgmm_cli", imports(MODULES[module]))
    wrong = [name for name in found if not any(within(name, part) for part in below)]
    assert not wrong, f"{module} imports {wrong}"


def test_every_entry_of_the_tables_is_a_module() -> None:
    for part in [*LIBRARY, *(f"dcgmm_cli.{part}".rstrip(".") for part in RUNNER)]:
        assert part in MODULES, part


def test_nothing_but_the_dispatch_by_name_knows_the_commands() -> None:
    for module in OF_RUNNER:
        used = [name for name in imports(MODULES[module]) if within(name, "dcgmm_cli.commands")]
        assert within(module, "dcgmm_cli.commands") or not used, f"{module} imports {used}"


def test_only_the_glue_knows_hydra() -> None:
    assert users("hydra", "omegaconf") == {f"dcgmm_cli.{name}" for name in GLUE}


@pytest.mark.parametrize("part", COMPUTES)
def test_computations_know_neither_configuration_nor_files(part: str) -> None:
    access = {"pathlib", "os", "io", "shutil", "tempfile", "json", "pickle", "yaml"}
    for module in OF_LIBRARY:
        # Native code is compiled, and kept as a file.
        if within(module, f"dcgmm.{part}") and not within(module, "dcgmm.model.native"):
            assert not outside(imports(MODULES[module])) & access, module


def test_only_one_module_imports_torchvision() -> None:
    by_name = {module for module, path in MODULES.items() if 'import_module("torchvision' in path.read_text()}
    assert users("torchvision") | by_name == {"dcgmm.datasets.vision"}


def test_pictures_are_drawn_in_one_place() -> None:
    for module, path in MODULES.items():
        drawing = of("matplotlib", imports(path)) - {"matplotlib.figure"}  # which names what was drawn
        assert within(module, "dcgmm_cli.figures") or not drawing, f"{module} imports {drawing}"


@pytest.mark.parametrize("module", sorted(QUICK))
def test_help_and_completion_import_nothing_slow(module: str) -> None:
    found = imports(MODULES[module], at_top=True)
    assert {name for name in found if name.partition(".")[0] in PACKAGES} <= QUICK
    assert outside(found) <= {*PACKAGES, "lazy_loader"} | sys.stdlib_module_names
