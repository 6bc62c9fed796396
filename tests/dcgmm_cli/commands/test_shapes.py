"""Every follow-up command on colour images that are not square, with every kind of layer."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgmm.files import read_json
from tests.dcgmm_cli.commands.conftest import Runner

ARCH = [
    "arch.layers=[{type:folding,kernel:[4,3],stride:[3,2]},{type:gmm,components:4},"
    "{type:pooling,kernel:[2,2]},{type:folding,kernel:[2,2]},{type:gmm,components:4}]",
    "arch.exponent=0.5",
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of 16 x 11 colour images: red or blue on the left, noise everywhere."""
    generator = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(0, 60, (16, 11, 3), dtype=np.uint8)
            pixels[:, :5, channel] += 180
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def test_colour_images_that_are_not_square(pictures: Path, dcgmm: Runner) -> None:
    data = ["dataset=folder", f"dataset.path={pictures}", "dataset.color=true"]
    training = ["trainer.epochs=20", "trainer.batch_size=8", "trainer.annealing.alpha=0.5"]
    trained = dcgmm("train", *ARCH, *data, *training, "dataset.classes=[0]")
    assert trained.code == 0, trained.err
    for command, arguments in {
        "sample": ["sampling.count=6", "sharpen=true", "quality.count=0"],
        "sharpen": ["sampling.count=6", "sharpening.iterations=3", "quality.count=0"],
        "visualize": [],
        "outliers": [],
        "cluster": ["cluster.count=5", "cluster.training=0", "cluster.position=[1,0]"],
    }.items():
        outcome = dcgmm(command, "run=latest", *arguments)
        assert outcome.code == 0, (command, outcome.err)
        assert read_json(outcome.directory / "result.json")["status"] == "finished"
        for path in (outcome.directory / "figures").glob("*.png"):
            with Image.open(path) as picture:
                assert min(picture.size) > 10, path
        if command == "sample":
            with np.load(outcome.directory / "samples.npz") as arrays:
                assert arrays["images"].shape == (6, 16, 11, 3)
        if command == "outliers":
            # Blue pictures are outliers among red ones.
            assert read_json(outcome.directory / "result.json")["auroc"]["gmm1"] > 0.9
