from pathlib import Path

import pytest
import torch
from PIL import Image

from dcgmm_cli.checkpoints import build_model, load_checkpoint
from dcgmm_cli.commands.visualize import centroid_maps, component_use
from dcgmm_cli.runs import read_json
from tests.commands.conftest import Runner


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
    for arguments in (["component=4"], ["images=-1"]):
        outcome = dcgmm("visualize", run, *arguments)
        assert outcome.code == 2
        assert ("component=4 is not in gmm2" if "component" in arguments[0] else "images must be") in outcome.err


def test_the_seed_draws_the_mean_images(run: str, dcgmm: Runner) -> None:
    drawn = []
    for seed in (0, 0, 1):
        outcome = dcgmm("visualize", run, "images=0", f"seed={seed}")
        drawn.append((outcome.directory / "figures" / "mean_images_gmm2.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_maps_and_use_are_read_off_the_model(tiny_run: Path) -> None:
    model = build_model(load_checkpoint(tiny_run))
    first, second = model.gmms["gmm1"], model.gmms["gmm2"]
    assert torch.equal(centroid_maps(model, first, first.loc.detach())[1].flatten(), first.loc.detach()[1].clamp(0, 1))
    # 2 x 2 positions of a 2 x 2 component grid each, with a gap of 1.
    maps = centroid_maps(model, second, second.loc.detach())
    assert maps.shape == (4, 5, 5, 1)
    assert maps[3, 3, 4, 0] == second.loc.detach()[3].view(2, 2, 4)[1, 1, 1]
    images = torch.randint(0, 256, (7, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    winners = model.score(images / 255)["gmm1"].component_scores.argmax(-1)
    expected = torch.bincount(winners.flatten(), minlength=4).double() / winners.numel()
    assert torch.allclose(component_use(model, images)["gmm1"], expected)
