"""Defects in large textures, from files to maps: training on tiles, and the example in `examples/textures`."""

import csv
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dcgmm.checkpoints import load_run
from dcgmm.files import read_json
from dcgmm.outliers import Detector
from examples.textures.generate import DEFECTS, write
from tests.dcgmm_cli.commands.conftest import Runner

EXAMPLE = Path(__file__).parents[3] / "examples" / "textures"
SHORT = ["trainer.steps=24", "trainer.annealing.alpha=0.5"]
TRAIN = [
    *("train", "arch=textures", "dataset=folder", "dataset.path=textures/data", "dataset.color=true"),
    *("trainer.tile=[32,24]", *SHORT),
]


@pytest.fixture(autouse=True)
def _textures(tmp_path: Path) -> None:
    write(tmp_path / "textures", "weave", 48, 12, 5, 0)


def commands(root: str) -> list[list[str]]:
    """What `run.sh` runs after the images are there."""
    lines = (EXAMPLE / "run.sh").read_text().splitlines()
    auto = next(line.partition("=")[2].strip('"') for line in lines if line.startswith("auto="))
    found = [shlex.split(line.replace("$auto", auto).replace("$root", root), comments=True) for line in lines]
    return [[word for word in words[1:] if word != "$@"] for words in found if words[:1] == ["dcgmm"]]


def test_five_commands_judge_score_and_show(dcgmm: Runner, tmp_path: Path) -> None:
    train, judge, score, show = commands("textures")
    assert dcgmm(*train, *SHORT).code == 0
    judged, scored = dcgmm(*judge, "outliers.count=1"), dcgmm(*score, "outliers.count=1")
    assert (judged.code, scored.code, dcgmm(*show).code) == (0, 0, 0), judged.err + scored.err
    result = read_json(judged.directory / "result.json")
    assert (result["score"], result["outliers"]["classes"]) == ("auto", sorted(DEFECTS))
    assert "pixels" not in result["detection"]
    assert 0 <= result["where"]["pixel_auroc"] <= 1
    with (scored.directory / "scores.csv").open(newline="") as file:
        assert [line["file"] for line in csv.DictReader(file)] == [f"{number:03d}.png" for number in range(5)]
    assert np.load(scored.directory / "maps" / "maps.npz")["outlying"].shape == (5, 48, 48)
    run = load_run(tmp_path / "runs" / "latest")
    assert (run.model.input_shape, run.detector().positions["gmm1"].mean.shape) == ((48, 48, 3), (1, 1))
    assert (tmp_path / "runs" / "latest" / "show.html").is_file()


def test_ten_lines_of_python_say_which_are_defects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (EXAMPLE / "ten_lines.py").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ten_lines.py"])
    assert source.count("steps=2500") == 1
    exec(source.replace("steps=2500", 'steps=24, annealing={"alpha": 0.5}'), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"{number:03d}.png" for number in range(5)]
    assert all(line.endswith("good") or "defect near row" in line for line in lines)


def test_a_run_on_tiles_goes_on_to_the_same_bits_and_its_detector_is_measured_anew_alike(
    dcgmm: Runner, tmp_path: Path
) -> None:
    whole = dcgmm(*TRAIN)
    assert whole.code == 0, whole.err
    assert dcgmm(*TRAIN, "trainer.steps=10").code == 0
    assert dcgmm("train", "run=latest", "trainer.steps=24").code == 0
    first, second = load_run(whole.directory), load_run(tmp_path / "runs" / "latest")
    assert all(torch.equal(first.model.state_dict()[name], value) for name, value in second.model.state_dict().items())
    images = first.data().train.images
    expected = Detector.fit(first.model, images, pooled=True).scores(images)
    (whole.directory / "checkpoints" / "detector.pt").unlink()
    anew = dcgmm("outliers", f"run={whole.directory}", "outliers.count=0", "outliers.path=textures/data/train")
    assert anew.code == 0, anew.err
    with np.load(anew.directory / "scores.npz") as found:
        assert "pixels" not in found
        last = torch.from_numpy(found["gmm1_standardised"][-len(images) :])
    torch.testing.assert_close(last.sort().values, expected["gmm1_standardised"].sort().values, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["trainer.tile=[64,32]"], "trainer.tile [48, 48] [64, 32]"),
        (["trainer.tile=[32]"], "trainer.tile 2 [32]"),
        (["trainer.tile=[7,32]"], "7x32: 1 F(8,8,4,4): 7x32"),
        (
            ["arch.layers=[{type:folding,kernel:[8,8],stride:[8,8]},{type:gmm,components:4,shared:false}]"],
            "tile: gmm1 false",
        ),
    ],
)
def test_tiles_that_cannot_be_get_one_line_and_code_2(dcgmm: Runner, arguments: list[str], named: str) -> None:
    dcgmm(*TRAIN, *arguments).check_refused(*named.split(), alone=False)


@pytest.mark.slow
def test_the_example_in_full_finds_the_defects(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["sh", str(EXAMPLE / "run.sh"), "own"], cwd=tmp_path, env={**os.environ, "PATH": path})
    assert done.returncode == 0
    result = read_json(max((tmp_path / "runs" / "latest" / "outliers").glob("*/result.json")).parent / "result.json")
    assert (result["images"], result["failed"]) == (20, 0)
    assert result["outliers"] >= 15
    script = [sys.executable, str(EXAMPLE / "ten_lines.py"), "own"]
    said = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sum("defect near" in line for line in said[4:]) >= 15
