from pathlib import Path

import pytest

from dcgmm.errors import InputError
from dcgmm_cli.own_files import check_own_files

LAYERS = "layers: [{type: folding, kernel: [7, 7]}, {type: gmm, components: 4}]\n"
GLOBAL = "# @package _global_\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("arch/tiles.yaml", f"# mine\nname: tiles\nsharpening: {{iterations: 3}}\n{LAYERS}"),
        ("dataset/mine.yaml", "name: folder\npath: ${oc.env:HOME}/images\n"),
        ("study/a.yaml", f"{GLOBAL}dataset: {{limit: 5}}\ntrainer: {{epochs: 3, annealing: {{alpha: 0.5}}}}\n"),
        ("study/a.yaml", f"{GLOBAL}hydra: {{sweep: {{dir: runs/x, subdir: y}}, run: {{dir: z}}}}\n"),
        ("study/a.yaml", f"{GLOBAL}hydra: {{sweeper: {{params: {{seed: '1,2', arch: '1L,2L-c'}}}}}}\n"),
        ("study/a.yaml", f"{GLOBAL}hydra: {{launcher: {{n_jobs: 2}}}}\n"),
        ("elsewhere/a.yaml", "a: [not, read"),
    ],
)
def test_files_of_ones_own(name: str, text: str, tmp_path: Path) -> None:
    write(tmp_path, name, text)
    check_own_files(str(tmp_path), "train", ["arch=tiles", "+study=a", "seed=3"])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("arch/tiles.yaml", f"name: a\n{LAYERS}name: b", "line 3: found duplicate key name"),
        ("arch/tiles.yaml", f"{LAYERS}nam: x", "unknown key nam; the keys are layers, name, "),
        ("arch/tiles.yaml", "layers: [{type: gmm, size: 4}]", "unknown key layers.size; the keys are type, "),
        ("arch/tiles.yaml", f"{LAYERS}sharpening: {{steps: 3}}", "unknown key sharpening.steps; the keys are iter"),
        ("arch/tiles.yaml", f"{LAYERS}defaults: [1L]", "unknown key defaults"),
        ("arch/tiles.yaml", f"_target_: os.system\n{LAYERS}", "unknown key _target_"),
        ("arch/tiles.yaml", "layers: [{_target_: os.abort}]", "unknown key layers._target_"),
        ("arch/tiles.yaml", f"{GLOBAL}hydra: {{callbacks: {{x: {{_target_: os.abort}}}}}}", "hydra.callbacks.x is not"),
        ("dataset/x.yaml", f"{GLOBAL}hydra: {{job_logging: {{handlers: {{}}}}}}", "hydra.job_logging.handlers is not"),
        ("study/x.yaml", f"{GLOBAL}hydra: {{job: {{env_set: {{LD_PRELOAD: x}}}}}}", "hydra.job.env_set is not"),
        ("study/x.yaml", f"{GLOBAL}hydra: {{launcher: {{_target_: os.abort}}}}", "hydra.launcher._target_ is not"),
        ("study/x.yaml", f"{GLOBAL}hydra: {{sweeper: {{_target_: os.abort}}}}", "hydra.sweeper._target_ is not"),
        (
            "study/x.yaml",
            f"{GLOBAL}hydra: {{sweeper: {{params: {{hydra/x: a}}}}}}",
            "hydra.sweeper.params: unkn",
        ),
        ("study/x.yaml", f"{GLOBAL}hydra: {{searchpath: [file:///x]}}", "hydra.searchpath is not"),
        ("study/x.yaml", f"{GLOBAL}trainer: {{epoch: 3}}", "unknown key trainer.epoch; the keys are epochs, "),
        ("study/x.yaml", "defaults: [{override /hydra/launcher: x}]", "unknown key defaults"),
        ("study/x.yaml", "# @package hydra.callbacks.x\n_target_: os.abort", "`@package hydra.callbacks.x` is not for"),
        ("study/deep/x.yaml", "[1]", "holds no keys"),
        ("hydra/launcher/x.yaml", "n_jobs: 2", "files of one's own are not for Hydra's groups"),
    ],
)
def test_what_such_a_file_may_not_say_is_named(name: str, text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(InputError) as error:
        check_own_files(str(tmp_path), "train", ["arch=tiles", "+study=x", "hydra/launcher=x"])
    message = str(error.value)
    assert message.startswith(str(path))
    assert said in message
    assert "\n" not in message


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no directory"):
        check_own_files(str(tmp_path / "x"), "train", [])
