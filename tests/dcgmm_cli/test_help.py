import subprocess
import sys

import pytest

from dcgmm_cli.help import head, meaning
from dcgmm_cli.keys import keys
from dcgmm_cli.main import COMMANDS, run
from dcgmm_cli.schema import SCHEMAS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_every_key(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    out = capsys.readouterr().out
    for key in keys(SCHEMAS[command]):
        assert meaning(key), key.name
        assert f"  {head(key)}" in out
        assert f"  {meaning(key)}\n" in out
        assert all(choice in out for choice in key.choices)
    assert len(out.split("keys:\n")[1].splitlines()) >= len(keys(SCHEMAS[command]))


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("train", "arch.layers: list = needed "),
        ("train", "dataset.name: str = needed "),
        ("train", "dataset.classes: list[Any] = null "),
        ("train", "dataset.color: bool = false "),
        ("train", "trainer.learning_rate.start: float = 0.05 "),
        ("train", "trainer.dtype: float32|float64 = float32 "),
        ("train", "  arch: 1L, 2L-a, "),
        ("train", ", 2L-c (default), "),
        ("train", "  type: gmm\n    components: number of components K, a square number (needed)\n    factors: "),
        ("train", "usage: dcgmm train [key=value ...]"),
        ("cluster", "cluster.merge: ward|grid = null "),
        ("results", "paths: list[str] = [runs] "),
        ("results", "where: list[str] = [] "),
        ("results", "usage: dcgmm results [DIR ...] [key=value ...]"),
    ],
)
def test_lines_of_help(command: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    run([command, "--help"])
    assert line in capsys.readouterr().out


def test_choices_that_the_meaning_leaves_open_stand_after_it() -> None:
    (key,) = (key for key in keys(SCHEMAS["outliers"]) if key.name == "outliers.dataset")
    assert meaning(key).endswith(" are the outliers: " + ", ".join(key.choices))
    (key,) = (key for key in keys(SCHEMAS["outliers"]) if key.name == "device")
    assert meaning(key) == key.field.metadata["help"]


def test_help_is_instant() -> None:
    """No heavy import: the oracle is what is loaded, not a clock."""
    code = (
        "import sys; from dcgmm_cli.main import run; run(['train', '--help']); run(['completion', 'bash']);"
        "run(['completion', '--line', 'dcgmm train arch=']);"
        "slow = {'torch', 'hydra', 'omegaconf', 'numpy', 'matplotlib', 'rich', 'yaml'};"
        "sys.exit(sorted(slow & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
