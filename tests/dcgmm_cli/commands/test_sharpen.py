from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgmm.files import read_json
from tests.dcgmm_cli.commands.conftest import Runner

FEW = ["sampling.count=9", "quality.count=30", "quality.bins=10"]


@pytest.fixture
def run(tiny_run: Path) -> str:
    return f"run={tiny_run}"


def test_sharpen_leaves_what_is_documented(run: str, tiny_run: Path, installed: Runner) -> None:
    outcome = installed("sharpen", run, *FEW, "sharpening.iterations=20")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    assert directory.parent == tiny_run / "sharpen"
    result = read_json(directory / "result.json")
    assert (result["command"], result["status"]) == ("sharpen", "finished")
    assert result["log_likelihood"]["after"] > result["log_likelihood"]["before"]
    assert result["log_likelihood"] == result["layers"]["gmm1"]
    assert set(result["layers"]) == {"gmm1", "gmm2"}
    assert set(result["sharpening"]) == {"folding1", "folding2"}
    for step in result["sharpening"].values():
        assert step["after"] > step["before"]
        assert step["iterations"] == 20
    assert result["curves"]["folding1"]["iterations"] == list(range(21))
    assert set(result["quality"]) == {"sharpened", "unsharpened", "test images"}
    assert result["frechet"] == result["quality"]["sharpened"]["frechet"] != result["quality"]["unsharpened"]["frechet"]
    for name in ("before", "after", "sharpening", "log_likelihood"):
        with Image.open(directory / "figures" / f"{name}.png") as image:
            assert min(image.size) > 3 * 28
    arrays = np.load(directory / "samples.npz")
    assert arrays["images"].shape == arrays["before"].shape == (9, 28, 28, 1)
    assert not np.array_equal(arrays["images"], arrays["before"])
    assert "sharpen: 40 of 40 steps" in outcome.err


def test_given_images_are_sharpened(run: str, dcgmm: Runner, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
    np.savez(tmp_path / "given.npz", images=images)
    directory = dcgmm("sharpen", run, "input=given.npz", "sharpening.iterations=15").directory
    arrays = np.load(directory / "samples.npz")
    assert np.allclose(arrays["before"], images)
    result = read_json(directory / "result.json")
    assert set(result["sharpening"]) == {"folding1"}
    assert result["log_likelihood"]["after"] > result["log_likelihood"]["before"]
    # What a command wrote, the next can read.
    assert dcgmm("sharpen", run, f"input={directory / 'samples.npz'}", "sharpening.target=gmm2").code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["input=nowhere"], "nowhere .npy"),
        (["input=empty"], "empty .png"),
        (["input=small.npz"], "small.npz 2x5x5x1 Nx28x28x1"),
        (["input=good.npz", "sharpening.layers=[folding2]"], "sharpening.layers folding1 ['folding2']"),
        (["sharpening.layers=[folding3]"], "sharpening.layers folding1 folding2 folding3"),
        (["sharpening.layers=[folding2]", "sampling.start=gmm1"], "sharpening.layers=['folding2'] gmm1 sampling.start"),
        (["sharpening.layers=[]"], "Folding folding1 folding2"),
        (["sharpening.target=gmm1"], "sharpening.target folding2 gmm2 gmm1"),
        (["sharpening.step_size=1e6", "sharpening.iterations=200"], "folding2: step_size=1e+06"),
        (["quality.count=-5"], "quality.count 0 -5"),
        (["sampling.top_s=[1,2]"], "one sampling.top_s [1, 2]"),
    ],
)
def test_mistakes_are_one_line(run: str, dcgmm: Runner, tmp_path: Path, arguments: list[str], named: str) -> None:
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "small.npz", images=np.zeros((2, 5, 5, 1), np.float32))
    np.savez(tmp_path / "good.npz", images=np.zeros((2, 28, 28, 1), np.float32))
    dcgmm("sharpen", run, *FEW, *arguments).check_refused(*named.split(), alone=False)
