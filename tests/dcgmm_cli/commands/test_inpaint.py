from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import dcgmm as library
from dcgmm.checkpoints import load_run
from dcgmm.files import read_json
from dcgmm_cli.figures.base import LABEL
from tests.dcgmm_cli.commands.conftest import Runner

FEW = ["images=20", "shown=4", "completion.count=2"]


@pytest.fixture
def run(tiny_run: Path) -> str:
    return f"run={tiny_run}"


def test_inpaint_leaves_what_is_documented(run: str, tiny_run: Path, installed: Runner) -> None:
    outcome = installed("inpaint", run, *FEW, "mask=centre", "seed=3", "completion.std_scale=0.5")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    assert directory.parent == tiny_run / "inpaint"
    result = read_json(directory / "result.json")
    assert (result["command"], result["status"], result["images"]) == ("inpaint", "finished", 20)
    assert result["missing_share"] == 0.25
    assert set(result["mse"]) == {"mean", "most_likely", "draws"}
    assert set(result["peers"]) == {
        *("training mean", "nearest neighbour", "10 nearest neighbours", "full Gaussian", "flat mixture, K=25")
    }
    assert all(0 < value < 1 for value in [*result["mse"].values(), *result["peers"].values()])
    for name in result["peers"]:
        assert name in outcome.out
    # A classifier of real images tells the whole ones best.
    assert set(result["right"]) == {"images", *result["mse"]}
    assert 0 <= max(result["right"][name] for name in result["mse"]) <= result["right"]["images"] <= 1
    assert "label right" in outcome.out
    with Image.open(directory / "figures" / "completions.png") as image:
        assert image.size == (3 * (7 * 29 - 1), 3 * (4 * 29 - 1) + 2 * LABEL)  # a heading of two lines

    arrays = {name: torch.from_numpy(value) for name, value in np.load(directory / "completions.npz").items()}
    images, seen = arrays["images"], arrays["observed"]
    assert (images.shape, seen.shape, arrays["draws"].shape) == ((20, 28, 28, 1), (20, 28, 28), (2, 20, 28, 28, 1))
    for each in (arrays["mean"], arrays["most_likely"], *arrays["draws"]):
        assert torch.equal(each[seen], images[seen])
    assert float((arrays["mean"] - images)[~seen].square().mean()) == pytest.approx(result["mse"]["mean"])
    assert float(arrays["variance"][seen].abs().max()) == 0
    # They are what the library gives.
    expected = library.inpaint(load_run(tiny_run).model, images, seen, seed=3, count=2, std_scale=0.5)
    assert torch.allclose(arrays["mean"], expected.mean, atol=1e-6)
    assert torch.allclose(arrays["draws"], expected.draws, atol=1e-6)


def test_nan_is_completed_and_nothing_is_measured(run: str, dcgmm: Runner, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    images[0, :9], images[1, 5, 7] = np.nan, np.nan
    np.save(tmp_path / "holes.npy", images)
    outcome = dcgmm("inpaint", run, "input=holes.npy", "mask=nan", "completion.count=0")
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert "mse" not in result
    assert "peers" not in result
    arrays = np.load(outcome.directory / "completions.npz")
    assert np.isfinite(arrays["mean"]).all()
    assert np.array_equal(arrays["observed"], ~np.isnan(images))
    assert arrays["draws"].shape == (0, 3, 28, 28, 1)


def test_draws_are_sharpened_where_pixels_are_missing(run: str, tiny_run: Path, dcgmm: Runner) -> None:
    arguments = ["inpaint", run, *FEW, "mask=left", "peers=false", "judge=false"]
    steps = ["sharpen=true", "sharpening.iterations=3", "sharpening.rate=0.5"]
    outcomes = [dcgmm(*arguments, *more) for more in ([], steps)]
    plain, sharpened = (np.load(outcome.directory / "completions.npz") for outcome in outcomes)
    seen = plain["observed"]
    for before, after in zip(plain["draws"], sharpened["draws"], strict=True):
        assert np.array_equal(before[seen], after[seen])
        assert not np.array_equal(before[~seen], after[~seen])
    assert np.array_equal(plain["mean"], sharpened["mean"])
    assert "right" not in read_json(outcomes[0].directory / "result.json")


def test_masks_from_files(run: str, dcgmm: Runner, tmp_path: Path) -> None:
    hole = np.zeros((28, 28), np.uint8)
    hole[3:9, 10:20] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    np.save(tmp_path / "hole.npy", hole > 0)
    np.save(tmp_path / "each.npy", np.broadcast_to(hole > 0, (20, 28, 28)))
    arrays = []
    for mask in ("hole.png", "hole.npy", "each.npy"):
        outcome = dcgmm("inpaint", run, *FEW, f"mask={mask}", "peers=false", "judge=false")
        assert outcome.code == 0, outcome.err
        assert "peers" not in read_json(outcome.directory / "result.json")
        arrays.append(np.load(outcome.directory / "completions.npz"))
    assert np.array_equal(arrays[0]["observed"][7], hole == 0)
    for other in arrays[1:]:
        assert np.array_equal(arrays[0]["draws"], other["draws"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["mask=middle"], "mask=middle left right nan"),
        (["mask=nan"], "mask=nan input=:"),
        (["mask=nan", "share=0.5", "input=full.npy"], "share=0.5 mask=nan: random"),
        (["mask=nan", "input=full.npy"], "mask=nan: nothing"),
        (["mask=all.npy"], "mask=all.npy: everything"),
        (["mask=none.npy"], "mask=none.npy: nothing"),
        (["mask=small.npy"], "mask 28x28 7x7"),
        (["mask=two.npy", "images=3"], "mask 3 2"),
        (["mask=text.npy"], "mask=text.npy pickled"),
        (["mask=number.npy"], "mask 28x28 one"),
        (["mask=holes.npy"], "mask=holes.npy finite"),
        (["input=holes.npy"], "holes.npy: NaN"),
        (["input=nowhere"], "nowhere .npy"),
        (["input=full.npy", "images=5"], "images=5 input=full.npy"),
        (["share=1.5"], "share (0, 1) 1.5"),
        (["sharpening.rate=0.5"], "sharpening.rate=0.5 sharpen=true"),
        (["sharpen=true", "sharpening.layers=[folding9]"], "sharpening.layers folding1 folding2 folding9"),
        (["share=0.001"], "share 28x28 0.001"),
        (["completion.top_s=0"], "completion.top_s 1 0"),
        (["completion.counts=1"], "completion.counts completion.count"),
        (["run=nowhere"], "run=nowhere latest"),
    ],
)
def test_bad_input_is_one_clear_line(run: str, dcgmm: Runner, tmp_path: Path, arguments: list[str], named: str) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "full": np.zeros((2, 28, 28), np.float32),
        "holes": np.full((28, 28), np.nan, np.float32)[None],
        "all": np.ones((28, 28)),
        "none": np.zeros((28, 28)),
        "small": np.eye(7),
        "number": np.ones(()),
        "two": np.broadcast_to(np.eye(28), (2, 28, 28)),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "text.npy").write_text("text")
    dcgmm("inpaint", run, *arguments).check_refused(*named.split())
