from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dcgmm.files import read_json
from dcgmm.model import DCGMM, Architecture
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.options import made
from dcgmm_cli.figures.visualize import factor_rows, save_layer, value_maps
from tests.dcgmm.small import give_factors
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


def model_with_factors(components: int = 25, factors: int = 10, **changes: Any) -> DCGMM:
    layers: list[dict[str, Any]] = [
        {"type": "folding", "kernel": [3, 2], "stride": [3, 2]},
        {"type": "gmm", "components": 4, "factors": 2},
        {"type": "folding", "kernel": [2, 3]},
        {"type": "gmm", "components": components, "factors": factors},
    ]
    return give_factors(DCGMM.build((6, 6, 1), made(Architecture, {"layers": layers, **changes})))


def test_factors_are_pictures_beside_the_centroid() -> None:
    model = model_with_factors()
    gmm = model.gmms["gmm1"]
    assert isinstance(gmm, FactorGMM)
    with torch.no_grad():
        gmm.loc.copy_(torch.rand(gmm.loc.shape, generator=torch.Generator().manual_seed(0)))
        gmm.logits.copy_(torch.tensor([0.0, 2.0, 1.0, 3.0]))
    rows = factor_rows(model, "gmm1")
    assert rows.shape == (4, 3, 3, 2, 1)
    for row, component in zip(rows, (3, 1, 2, 0), strict=True):  # the heaviest first
        torch.testing.assert_close(row[0].flatten(), gmm.loc[component].detach())
        loadings = gmm.loadings[component].detach().mT
        loadings = loadings[loadings.norm(dim=1).argsort(descending=True)]  # the strongest first
        shown = row[1:].view(2, 6)
        torch.testing.assert_close((shown - 0.5) * 2 * loadings.abs().max(), loadings)
        assert (shown - 0.5).abs().max() == pytest.approx(0.5)
    # Of many, the heaviest and the strongest; above a GMM layer as that layer's grids.
    assert factor_rows(model, "gmm2").shape[:2] == (16, 9)
    assert factor_rows(model, "gmm2").shape[2:] == value_maps(model, "gmm2", model.gmms["gmm2"].loc.detach()).shape[1:]


def test_a_layer_s_pictures_tell_of_its_factors(tmp_path: Path) -> None:
    model = model_with_factors(4, 3, exponent=0.5)
    for name, gmm in model.gmms.items():
        save_layer(model, name, torch.rand(4, 6, 6, 1), None, tmp_path)
        assert isinstance(gmm, FactorGMM)
        with Image.open(tmp_path / f"factors_{name}.png") as image:
            assert min(image.size) > 150
        # Grey adds nothing: without factors there is no such picture.
        (tmp_path / f"factors_{name}.png").unlink()
        gmm.draw_start(torch.Generator().manual_seed(0))
        save_layer(model, name, torch.rand(4, 6, 6, 1), None, tmp_path)
        assert not (tmp_path / f"factors_{name}.png").exists()


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("component=4", "component gmm2's 0 3 4"),
        ("component=-1", "component 0 -1"),
        ("images=-1", "images 0 -1"),
    ],
)
def test_mistakes_are_one_line(run: str, dcgmm: Runner, argument: str, named: str) -> None:
    dcgmm("visualize", run, argument).check_refused(*named.split(), alone=False)


def test_the_seed_draws_the_mean_images(run: str, dcgmm: Runner) -> None:
    drawn = []
    for seed in (0, 0, 1):
        outcome = dcgmm("visualize", run, "images=0", f"seed={seed}")
        drawn.append((outcome.directory / "figures" / "mean_images_gmm2.png").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
