import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from dcgmm import __version__
from dcgmm.model import DCGMM
from dcgmm_cli.hydra_glue import register
from dcgmm_cli.main import COMMANDS, conf_dir, run
from dcgmm_cli.typed import typed


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert run(arguments) == 0
        out = capsys.readouterr().out
        assert all(f"  {command} " in out for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tran"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: unknown command 'tran': did you mean train?")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("program", [["-m", "dcgmm_cli"], [str(Path(sys.executable).parent / "dcgmm")]])
def test_the_program_by_either_name(program: list[str]) -> None:
    for words, code, out in ((["--version"], 0, f"{__version__}\n"), (["tran"], 2, "")):
        done = subprocess.run([sys.executable, *program, *words], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, out)


def test_every_command_has_a_module() -> None:
    assert all(importlib.util.find_spec(f"dcgmm_cli.commands.{command}") for command in COMMANDS)


@pytest.mark.parametrize("arch", sorted(path.stem for path in (conf_dir() / "arch").glob("*.yaml")))
def test_every_architecture_composes_and_builds(arch: str) -> None:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = typed(compose("train", [f"arch={arch}"]), "train")
    assert config.arch.name == arch
    model = DCGMM.build((28, 28, 1), config.arch)
    assert set(config.arch.sharpening.layers or ()) <= model.foldings.keys()
    top = list(model.gmms.values())[-1].output_shape
    assert top.positions == 1 or len(model.gmms) == 1  # one layer may look at the image window by window
