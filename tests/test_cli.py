import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dcgmm_cli import __version__
from dcgmm_cli.cli import COMMANDS, conf_dir, run
from dcgmm_cli.help import documented_keys
from dcgmm_cli.hydra_glue import SCHEMAS, register, schema_keys
from dcgmm_cli.model import DCGMM


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


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_every_key(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    out = capsys.readouterr().out
    keys = documented_keys(command)
    assert {key.name for key in keys} == set(schema_keys(OmegaConf.structured(SCHEMAS[command])))
    for key in keys:
        assert key.meaning, key.name
        assert f"  {key.name}: {key.type} = {key.default}" in out
        assert key.meaning in out


def test_help_is_instant() -> None:
    """No heavy import: the oracle is what is loaded, not a clock."""
    code = (
        "import sys; from dcgmm_cli.cli import run; run(['train', '--help']); run(['completion', 'bash']);"
        "sys.exit(sorted({'torch', 'hydra', 'omegaconf', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_completion_in_bash(tmp_path: Path) -> None:
    def complete(*words: str) -> set[str]:
        line = " ".join(words)
        script = (
            f'PATH="{Path(sys.executable).parent}:$PATH"; eval "$(dcgmm completion bash)"; COMP_WORDS=({line}); '
            f"COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}; _dcgmm; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return set(done.stdout.split())

    assert complete("dcgmm", "tr") == {"train"}
    assert {"arch=2L-a", "arch=2L-b", "arch=2L-c"} <= complete("dcgmm", "train", "arch=2L")
    assert complete("dcgmm", "results", "fo") == {"format="}


@pytest.mark.parametrize("shell", [[], ["fish"], ["bash", "zsh"]])
def test_completion_for_another_shell(shell: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", *shell]) == 2
    assert "bash or zsh" in capsys.readouterr().err


def test_every_command_has_a_schema_a_config_and_a_module() -> None:
    for command in COMMANDS:
        assert command in SCHEMAS
        assert (conf_dir() / f"{command}.yaml").exists()
        assert (Path(sys.modules["dcgmm_cli.cli"].__file__ or "").parent / "commands" / f"{command}.py").exists()


@pytest.mark.parametrize("arch", sorted(path.stem for path in (conf_dir() / "arch").glob("*.yaml")))
def test_every_architecture_composes_and_builds(arch: str) -> None:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", [f"arch={arch}"])
    assert config.arch.name == arch
    layers = OmegaConf.to_container(config.arch.layers)
    assert isinstance(layers, list)
    model = DCGMM.build((28, 28, 1), layers)
    top = list(model.gmms.values())[-1]
    assert (top.output_shape.height, top.output_shape.width) == (1, 1)


@pytest.mark.parametrize("dataset", sorted(path.stem for path in (conf_dir() / "dataset").glob("*.yaml")))
def test_every_data_set_composes(dataset: str) -> None:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", [f"dataset={dataset}"])
    assert config.dataset.name == dataset
