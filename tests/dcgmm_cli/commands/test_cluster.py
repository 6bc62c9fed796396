from pathlib import Path

import pytest
import torch
from PIL import Image

from dcgmm.checkpoints import load_run
from dcgmm.clustering import dunn_index
from dcgmm.clustering.options import ClusterOptions, Part
from dcgmm.datasets import load
from dcgmm.files import read_json
from dcgmm_cli import main
from dcgmm_cli.commands.cluster import draw
from tests.dcgmm_cli.commands.conftest import QUICK, Runner


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training run for all tests here: each only adds a directory to it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dcgmm"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.chdir(folder)
        # After so few steps weights by use would leave one component, and one cluster.
        assert main.run(["train", *QUICK, "trainer.weights_by_use=false"]) == 0
    return (folder / "runs" / "latest").resolve()


def test_cluster_leaves_what_is_documented(trained: Path, dcgmm: Runner) -> None:
    outcome = dcgmm("cluster", f"run={trained}", "cluster.count=80", "seed=3", "threads=1")
    assert outcome.code == 0, outcome.err
    assert outcome.directory.parent == trained / "cluster"
    result = read_json(outcome.directory / "result.json")
    assert (result["command"], result["status"], result["layer"]) == ("cluster", "finished", "gmm2")

    data = load("mnist_sample", limit=300)
    images, _ = draw(data, ClusterOptions(count=80), seed=3)
    winners = load_run(trained).model.score(images.images)["gmm2"].component_scores[:, 0, 0].argmax(-1)
    expected = {str(label): int((winners == label).sum()) for label in winners.unique().tolist()}
    assert result["sizes"] == expected
    assert result["clusters"] == len(expected)
    assert result["dunn"] == pytest.approx(dunn_index((images.images / 255).flatten(1), winners).value)
    assert result["davies_bouldin"] > 0
    assert set(result["methods"]) == {"gmm2", "k-means", "scikit-learn GMM"}
    assert result["methods"]["k-means"]["clusters"] == result["clusters"]
    assert "Davies-Bouldin" in outcome.out
    for name in ("clusters", "classes"):
        with Image.open(outcome.directory / "figures" / f"{name}.png") as image:
            assert min(image.size) > 28


def test_a_position_of_a_lower_layer_in_responsibilities_merged(trained: Path, dcgmm: Runner) -> None:
    outcome = dcgmm(
        "cluster",
        f"run={trained}",
        "cluster.layer=gmm1",
        "cluster.position=[1,2]",
        "cluster.space=responsibilities",
        "cluster.split=train",
        "cluster.merge=grid",
        "cluster.classes=2",
        "cluster.count=100",
    )
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert (result["layer"], result["position"], result["images"], result["training_images"]) == (
        "gmm1",
        [1, 2],
        100,
        200,
    )
    merged = result["merged"]
    assert set(merged["components"]) == {0, 1}
    sizes = {"0": 0, "1": 0}
    for component, size in result["sizes"].items():
        sizes[str(merged["components"][int(component)])] += size
    assert merged["sizes"] == {label: size for label, size in sizes.items() if size}
    assert (outcome.directory / "figures" / "clusters_merged.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["cluster.layer=gmm1"], "cluster.position 4x4 gmm1 given"),
        (["cluster.layer=gmm1", "cluster.position=[4,0]"], "cluster.position gmm1 [0,0] [3,3] [4, 0]"),
        (["cluster.layer=gmm3"], "cluster.layer gmm1 gmm2 gmm3"),
        (["cluster.space=pixel"], "cluster.space=pixel: pixels responsibilities"),
        (["cluster.count=1"], "cluster.count 2 1"),
        (["cluster.classes=3"], "cluster.classes=3 cluster.merge=ward"),
        (["cluster.merge=ward"], "gmm2 4 10 cluster.classes 1"),
    ],
)
def test_mistakes_are_told_in_one_line(trained: Path, dcgmm: Runner, arguments: list[str], named: str) -> None:
    dcgmm("cluster", f"run={trained}", *arguments).check_refused(*named.split())


def test_one_cluster_and_fewer_images_than_components(trained: Path, dcgmm: Runner) -> None:
    outcome = dcgmm("cluster", f"run={trained}", "cluster.count=2", "cluster.training=0")
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert (result["images"], result["majority_accuracy"]) == (2, None)
    outcome = dcgmm("cluster", f"run={trained}", "cluster.merge=ward", "cluster.classes=1", "cluster.count=50")
    outcome.check_told(50, "one cluster")
    merged = read_json(outcome.directory / "result.json")["merged"]
    assert (merged["clusters"], merged["dunn"], merged["sizes"]) == (1, None, {"0": 50})


def test_a_sample_is_fixed_by_the_seed_and_leaves_out_what_names_it() -> None:
    data = load("mnist_sample", limit=300)
    images, training = draw(data, ClusterOptions(count=100, split=Part.train), seed=0)
    assert torch.equal(images.labels, draw(data, ClusterOptions(count=100, split=Part.train), seed=0)[0].labels)
    assert not torch.equal(images.labels, draw(data, ClusterOptions(count=100, split=Part.train), seed=1)[0].labels)
    # All 300 training images are used once, whichever part they are in.
    assert torch.equal(
        torch.cat([images.images, training.images]).long().sum((1, 2, 3)).sort().values,
        data.train.images.long().sum((1, 2, 3)).sort().values,
    )
