from pathlib import Path

import pytest
from PIL import Image

from dcgmm.files import read_json
from tests.dcgmm_cli.commands.conftest import Runner


@pytest.fixture
def run(tiny_run: Path) -> str:
    return f"run={tiny_run}"


def test_visualize_leaves_what_is_documented(run: str, tiny_run: Path, installed: Runner) -> None:
    outcome = installed("visualize", run, "component=2", "images=50")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    assert directory.parent == tiny_run / "visualize"
    result = read_json(directory / "result.json")
    assert (result["command"], result["status"], result["component"]) == ("visualize", "finished", 2)
    for layer in result["layers"].values():
        assert sum(layer["weights"]) == pytest.approx(1)
        assert sum(layer["use"]) == pytest.approx(1)
    names = [f"{kind}_gmm{n}" for kind in ("centroids", "variances", "mean_images", "weights") for n in (1, 2)]
    for name in [*names, "walk"]:
        with Image.open(directory / "figures" / f"{name}.png") as image:
            assert min(image.size) > 28


def test_without_images_no_data_are_needed(run: str, dcgmm: Runner) -> None:
    outcome = dcgmm("visualize", run, "images=0")
    assert outcome.code == 0, outcome.err
    assert read_json(outcome.directory / "result.json")["layers"]["gmm1"]["use"] is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("component=4", "component must be one of gmm2's, 0 to 3, not 4"),
        ("component=-1", "component must be a whole number of at least 0, not -1"),
        ("images=-1", "images must be a whole number of at least 0, not -1"),
    ],
)
def test_mistakes_are_one_line(run: str, dcgmm: Runner, argument: str, message: str) -> None:
    outcome = dcgmm("visualize", run, argument)
    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-1]


def test_the_seed_draws_the_mean_images(run: str, dcgmm: Runner) -> None:
    drawn = []
    for seed in (0, 0, 1):
        outcome = dcgmm("visualize", run, "images=0", f"seed={seed}")
        drawn.append((outcome.directory / "figures" / "mean_images_gmm2.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
