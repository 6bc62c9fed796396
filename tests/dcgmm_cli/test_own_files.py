from pathlib import Path

import pytest

from dcgmm_cli.own_files import check_own_files
from tests.refusals import refused

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
    ("name", "text", "named"),
    [
        ("arch/tiles.yaml", f"name: a\n{LAYERS}name: b", "line 3: name"),
        ("arch/tiles.yaml", f"{LAYERS}nam: x", "nam; layers name"),
        ("arch/tiles.yaml", "layers: [{type: gmm, size: 4}]", "layers.size; type components"),
        ("arch/tiles.yaml", f"{LAYERS}sharpening: {{steps: 3}}", "sharpening.steps; iterations rate"),
        ("arch/tiles.yaml", f"{LAYERS}defaults: [1L]", "defaults; layers"),
        ("arch/tiles.yaml", f"_target_: os.system\n{LAYERS}", "_target_; layers"),
        ("arch/tiles.yaml", "layers: [{_target_: os.abort}]", "layers._target_; type"),
        ("arch/tiles.yaml", f"{GLOBAL}hydra: {{callbacks: {{x: {{_target_: os.abort}}}}}}", "hydra.callbacks.x"),
        ("dataset/x.yaml", f"{GLOBAL}hydra: {{job_logging: {{handlers: {{}}}}}}", "hydra.job_logging.handlers"),
        ("study/x.yaml", f"{GLOBAL}hydra: {{job: {{env_set: {{LD_PRELOAD: x}}}}}}", "hydra.job.env_set"),
        ("study/x.yaml", f"{GLOBAL}hydra: {{launcher: {{_target_: os.abort}}}}", "hydra.launcher._target_"),
        ("study/x.yaml", f"{GLOBAL}hydra: {{sweeper: {{_target_: os.abort}}}}", "hydra.sweeper._target_"),
        (
            "study/x.yaml",
            f"{GLOBAL}hydra: {{sweeper: {{params: {{hydra/x: a}}}}}}",
            "hydra.sweeper.params: hydra/x; arch seed",
        ),
        ("study/x.yaml", f"{GLOBAL}hydra: {{searchpath: [file:///x]}}", "hydra.searchpath"),
        ("study/x.yaml", f"{GLOBAL}trainer: {{epoch: 3}}", "trainer.epoch; epochs"),
        ("study/x.yaml", "defaults: [{override /hydra/launcher: x}]", "defaults; arch"),
        ("study/x.yaml", "# @package hydra.callbacks.x\n_target_: os.abort", "hydra.callbacks.x` _global_"),
        ("study/deep/x.yaml", "[1]", "keys `seed:"),
        ("hydra/launcher/x.yaml", "n_jobs: 2", "Hydra's groups"),
    ],
)
def test_what_such_a_file_may_not_say_is_named(name: str, text: str, named: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, text)
    with refused(path, *named.split()):
        check_own_files(str(tmp_path), "train", ["arch=tiles", "+study=x", "hydra/launcher=x"])


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with refused(f"--config-dir={tmp_path / 'x'}", "arch/", "dataset/"):
        check_own_files(str(tmp_path / "x"), "train", [])
