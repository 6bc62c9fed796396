"""What `import dcgmm` gives, and what it costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import dcgmm

PACKAGE = Path(dcgmm.__file__).parent
STUBS = sorted(path.relative_to(PACKAGE).parent for path in PACKAGE.rglob("__init__.pyi"))
NAMES = [
    *("Architecture", "Completions", "DCGMM", "Density", "Detector", "History", "InputError", "OptionError"),
    *("Samples", "Sharpened", "TrainedRun"),
    *("arch", "density", "fit", "inpaint", "load", "load_run", "sample", "save", "sharpen"),
    *(
        "classification",
        "clustering",
        "datasets",
        "exporting",
        "generation",
        "model",
        "outliers",
        "sklearn",
        "training",
    ),
]


def run(script: str) -> str:
    """What a script prints in a process of its own."""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def stub_names(folder: Path) -> list[str]:
    tree = ast.parse((PACKAGE / folder / "__init__.pyi").read_text())
    return [
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]


def test_importing_it_imports_nothing_slow() -> None:
    modules = run("import sys, dcgmm; print(*sys.modules)").split()
    assert not {"torch", "numpy", "omegaconf", "hydra", "rich", "matplotlib", "sklearn", "yaml"} & set(modules)
    assert "dcgmm" in modules


def test_the_command_line_s_help_imports_nothing_slow() -> None:
    script = "import sys; from dcgmm_cli.main import run; run(['train', '--help']); print(*sys.modules)"
    modules = run(script).splitlines()[-1].split()
    assert not {"torch", "numpy", "omegaconf", "hydra", "rich", "matplotlib", "yaml"} & set(modules)


def test_the_public_names() -> None:
    assert sorted(dir(dcgmm)) == sorted(NAMES)
    assert sorted(stub_names(Path())) == sorted(NAMES)


@pytest.mark.parametrize("folder", STUBS, ids=str)
def test_every_name_of_a_stub_is_there(folder: Path) -> None:
    package = importlib.import_module(".".join(("dcgmm", *folder.parts)))
    names = stub_names(folder)
    assert names
    assert set(names) <= set(dir(package))
    for name in names:
        assert getattr(package, name) is not None
        if not isinstance(getattr(package, name), type(dcgmm)) and callable(getattr(package, name)):
            assert getattr(package, name).__doc__, f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = dcgmm.models  # type: ignore[attr-defined]  # that is what is tested


EXAMPLE = """
import dcgmm

data = dcgmm.datasets.load("mnist_sample", classes=[0, 1, 2, 3, 4])
model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-c"))
history = dcgmm.fit(model, data.train.images, epochs=1, seed=0)
log_prob = model.log_prob(data.test.images)
assert log_prob.shape == (len(data.test),) and not log_prob.requires_grad
samples = dcgmm.sample(model, 36, top_s=3, seed=0)
assert samples.images.shape == (36, 28, 28, 1)
sharp = dcgmm.sharpen(model, data.test.images[:9])
assert sharp.signal.shape == (9, 28, 28, 1)
seen = dcgmm.generation.observed_part("right", 28, 28, 9)
assert dcgmm.inpaint(model, data.test.images[:9], seen, count=4).draws.shape == (4, 9, 28, 28, 1)
assert model.score(data.test.images[:9], observed=seen)["gmm1"].log_prob.isfinite().all()
detector = dcgmm.Detector.fit(model, data.train.images)
assert detector.scores(data.test.images)["joint"].shape == (len(data.test),)
partly = detector.seen_through(data.train.images[:2000], seen[0])
assert partly.scores(data.test.images, observed=seen[0])["joint"].isfinite().all()
dcgmm.save(model, "model.pt")
assert dcgmm.load("model.pt").log_prob(data.test.images).equal(log_prob)
try:
    dcgmm.load_run("runs/latest")
except dcgmm.InputError as error:
    print(error)
"""


def test_the_library_is_used_as_the_readme_says(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXAMPLE], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("runs/latest is no directory (checkpoints/last.pt): train it first")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]  # and nothing else was written
