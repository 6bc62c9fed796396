"""A model with parameters for each position, through all commands."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from dcgmm.checkpoints import load_run
from dcgmm.files import read_json
from dcgmm_cli import main
from dcgmm_cli.figures.base import GAP, LABEL
from tests.dcgmm_cli.commands.conftest import Runner

FOLDING = "{type:folding,kernel:[14,14],stride:[14,14]}"
LAYERS = (
    f"arch.layers=[{FOLDING},{{type:gmm,components:4,factors:2,shared:false}},"
    "{type:folding,kernel:[2,1]},{type:gmm,components:4,shared:false}]"
)
DATA = ["dataset=mnist_sample", "dataset.limit=300", "dataset.classes=[0,1,2]"]
HOW = ["trainer.annealing.alpha=0.5", "trainer.annealing.gamma=0.5", "trainer.factor_epochs=8"]
TRAIN = ["train", LAYERS, *DATA, *HOW]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training run for all tests here: each only adds a directory to it."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dcgmm"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        assert main.run([*TRAIN, "trainer.epochs=40", f"runs_dir={runs}"]) == 0
    return (runs / "latest").resolve()


def test_a_run_that_goes_on_comes_to_the_same_bits(trained: Path, dcgmm: Runner) -> None:
    result, run = read_json(trained / "result.json"), load_run(trained)
    assert str(run.model.architecture) == "F(14,14,14,14) G(4,2,own) F(2,1,1,1) G(4,own)"
    assert [result["layers"][name]["components"] for name in ("gmm1", "gmm2")] == [16, 8]
    assert result["layers"]["gmm1"]["sigma"] == pytest.approx(0.01)
    outcome = dcgmm(*TRAIN, "trainer.epochs=20")
    assert outcome.code == 0, outcome.err
    assert dcgmm("train", f"run={outcome.directory}", "trainer.epochs=40").code == 0
    for name, value in load_run(outcome.directory).model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name])


def test_every_component_of_every_position_is_drawn(trained: Path, dcgmm: Runner) -> None:
    outcome = dcgmm("visualize", f"run={trained}")
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")["layers"]
    for name, components in (("gmm1", 16), ("gmm2", 8)):
        assert len(result[name]["weights"]) == len(result[name]["use"]) == components
        assert sum(result[name]["weights"]) == pytest.approx(components / 4, rel=1e-5)
    figures = outcome.directory / "figures"
    across, down = 2 * (5 * 14 + GAP), 2 * (5 * 14 + LABEL + GAP)  # of a position's four components, with numbers
    with Image.open(figures / "centroids_gmm1.png") as image:
        assert image.size == (2 * (across + 4 * GAP), 2 * (down + LABEL + 4 * GAP))
    assert {"factors_gmm1.png", "mean_images_gmm2.png", "walk.png"} <= {path.name for path in figures.iterdir()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "sampling.count=9", "quality.count=0", "sampling.top_s=2", "sampling.std_scale=0.3"],
        ["cluster", "cluster.position=[0,1]", "cluster.merge=ward", "cluster.classes=3"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_takes_it(arguments: list[str], trained: Path, dcgmm: Runner) -> None:
    command, *rest = arguments
    outcome = dcgmm(command, f"run={trained}", *rest)
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert (result["command"], result["status"]) == (command, "finished")


def test_the_installed_command_completes_images_by_it(trained: Path, installed: Runner) -> None:
    outcome = installed("inpaint", f"run={trained}", "images=9", "shown=4", "completion.count=2", "peers=false")
    assert outcome.code == 0, outcome.err
    assert read_json(outcome.directory / "result.json")["mse"]["mean"] > 0


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ("{type:gmm,components:4,shared:maybe}", "arch.layers: shared true false maybe"),
        ("{type:gmm,components:4,shared:[true]}", "arch.layers: shared true false [True]"),
        ("{type:pooling,kernel:[2,2],shared:false}", "arch.layers: 2: shared pooling kernel stride"),
    ],
)
def test_values_that_cannot_be_get_one_line_and_code_2(layer: str, named: str, dcgmm: Runner) -> None:
    dcgmm("train", f"arch.layers=[{FOLDING},{layer}]", *DATA).check_refused(*named.split(), alone=False)
