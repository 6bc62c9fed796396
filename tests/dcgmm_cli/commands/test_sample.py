import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dcgmm as library
from dcgmm.checkpoints import FORMAT, load_run, read_state
from dcgmm.files import CHECKPOINT, read_json
from dcgmm.generation.quality import nearest
from dcgmm.generation.variants import control_signal
from dcgmm_cli.figures.base import LABEL
from dcgmm_cli.runs import META
from tests.dcgmm_cli.commands.conftest import QUICK, Runner

FEW = ["sampling.count=12", "quality.count=30", "quality.bins=10"]


@pytest.fixture
def run(tiny_run: Path) -> str:
    return f"run={tiny_run}"


def test_sample_leaves_what_is_documented(run: str, tiny_run: Path, installed: Runner) -> None:
    outcome = installed("sample", run, *FEW, "sampling.top_s=[1,3]", "sampling.std_scale=[0.1,1]", "seed=4")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    assert directory.parent == tiny_run / "sample"
    result = read_json(directory / "result.json")
    assert (result["command"], result["status"]) == ("sample", "finished")
    assert set(result["quality"]) == {"top_s=1", "top_s=3", "test images"}
    for figures in result["quality"].values():
        assert figures["count"] == 30
        assert 0 <= figures["ndb"] <= figures["bins"] == 10
    assert result["diversity"] == result["quality"]["top_s=1"]["diversity"] > 0
    assert result["ndb"] == result["quality"]["top_s=1"]["ndb"]
    for column in ("duplicates", "Fréchet"):
        assert column in outcome.out
    assert (
        result["frechet"] == result["quality"]["top_s=1"]["frechet"] > 3 * result["quality"]["test images"]["frechet"]
    )
    # Its judge knows all classes of the data set; 30 of the run's 300 test images stand for a perfect model.
    assert (result["judge"]["count"], result["judge"]["reference"]) == (30, 270)
    assert result["judge"]["accuracy"] > 0.9

    arrays = np.load(directory / "samples.npz")
    assert arrays["images"].shape == (24, 28, 28, 1)
    assert arrays["top_s"].tolist() == [1] * 12 + [3] * 12
    for top_s in (1, 3):
        with Image.open(directory / "figures" / f"samples_top{top_s}.png") as image:
            assert min(image.size) > 3 * 28
    # The saved images and components are those that the library draws.
    expected = library.sample(load_run(tiny_run).model, 12, seed=4, top_s=3, std_scale=[0.1, 1.0])
    assert np.allclose(arrays["images"][12:], expected.images.clamp(0, 1).numpy(), atol=1e-6)
    assert np.array_equal(arrays["components_gmm2"][12:], expected.components["gmm2"].numpy())
    assert arrays["components_gmm1"].shape == (24, 4, 4)


def test_figures_are_the_same_twice_and_sharpening_changes_them(run: str, dcgmm: Runner) -> None:
    first, second = (dcgmm("sample", run, *FEW) for _ in range(2))
    assert first.directory != second.directory
    assert quality(first.directory) == quality(second.directory)
    sharpened = dcgmm("sample", run, *FEW, "sharpen=true", "sharpening.iterations=3", "sharpening.layers=[folding1]")
    assert quality(sharpened.directory) != quality(first.directory)
    assert "ndb" not in read_json(dcgmm("sample", run, "quality.count=0").directory / "result.json")


def test_without_a_judge_there_is_no_frechet_distance(run: str, dcgmm: Runner) -> None:
    outcome = dcgmm("sample", run, *FEW, "quality.frechet=false")
    result = read_json(outcome.directory / "result.json")
    assert result["frechet"] is None
    assert {figures["frechet"] for figures in result["quality"].values()} == {None}
    assert "judge" not in result


def test_images_of_one_class_have_no_judge(dcgmm: Runner, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 14, 14), np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{index:02}.png")
    layers = "arch.layers=[{type:folding,kernel:[14,14]},{type:gmm,components:4}]"
    data = ["dataset=folder", f"dataset.path={tmp_path / 'images'}"]
    assert dcgmm("train", *data, layers, "trainer.epochs=1", "trainer.batch_size=4").code == 0
    outcome = dcgmm("sample", "sampling.count=4", "quality.count=4", "quality.bins=4")
    outcome.check_told("Fréchet", 2, 1)
    assert read_json(outcome.directory / "result.json")["frechet"] is None


def quality(directory: Path) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = read_json(directory / "result.json")["quality"]
    return figures


def test_a_flat_mixture_is_judged_beside_the_model(run: str, dcgmm: Runner) -> None:
    layers = "arch.layers=[{type:folding,kernel:[28,28]},{type:gmm,components:4}]"
    flat = dcgmm("train", *QUICK, layers, "runs_dir=elsewhere").directory
    outcome = dcgmm("sample", run, *FEW, "quality.flat=latest", "runs_dir=elsewhere", "seed=2")
    judged = read_json(outcome.directory / "result.json")["quality"]
    assert set(judged) == {"top_s=1", "test images", "flat GMM"}
    images = library.sample(load_run(flat).model, 30, seed=2).images.clamp(0, 1)
    assert judged["flat GMM"]["diversity"] == pytest.approx(float(nearest(images.flatten(1))[0].mean()))


def test_test_images_are_drawn_and_as_many_as_there_are(run: str, dcgmm: Runner) -> None:
    def tests(*arguments: str) -> dict[str, float]:
        return quality(dcgmm("sample", run, *FEW, *arguments).directory)["test images"]

    assert tests("seed=1") == tests("seed=1")
    assert tests("seed=1") != tests("seed=2")
    assert tests("quality.count=400")["count"] == 300  # the run's data have no more
    assert "test images: only 300" in dcgmm("sample", run, *FEW, "quality.count=400").out


def test_variants_of_images(run: str, tiny_run: Path, dcgmm: Runner, tmp_path: Path) -> None:
    outcome = dcgmm("sample", run, *FEW, "like=test", "images=4", "sampling.start=gmm1", "seed=2")
    assert outcome.code == 0, outcome.err
    result = read_json(outcome.directory / "result.json")
    assert set(result["distance"]) == {"variant", "nearest_training_image", "unrelated_sample"}
    assert 0 < result["distance"]["variant"] < result["distance"]["unrelated_sample"]
    assert "mean distance from 4 originals: variant " in outcome.out
    arrays = {name: torch.from_numpy(value) for name, value in np.load(outcome.directory / "samples.npz").items()}
    assert arrays["signal"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    with Image.open(outcome.directory / "figures" / "variants_top1.png") as image:
        assert image.size == (3 * (4 * 29 - 1), 3 * (4 * 29 - 1) + LABEL)  # a line of headings
    # They are what the library gives.
    model = load_run(tiny_run).model
    signal = control_signal(model, arrays["originals"], "gmm1")
    torch.testing.assert_close(arrays["control"], signal)
    expected = library.sample(model, 12, seed=2, start="gmm1", weights=signal.repeat_interleave(3, 0)).images
    assert torch.allclose(arrays["images"], expected.clamp(0, 1), atol=1e-5)

    # The same again, from the images in a file, and from the control signals that were saved.
    np.save(tmp_path / "mine.npy", arrays["originals"].numpy())
    again = ["sampling.count=12", "quality.count=0", "sampling.start=gmm1", "seed=2"]
    for given in ("like=mine.npy", f"control={outcome.directory}/samples.npz"):
        other = dcgmm("sample", run, *again, given)
        assert other.code == 0, other.err
        assert np.array_equal(np.load(other.directory / "samples.npz")["images"], arrays["images"].numpy())
        assert ("distance" in read_json(other.directory / "result.json")) == given.startswith("like")
    assert not (other.directory / "figures" / "variants_top1.png").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["like=nowhere"], "nowhere .npy"),
        (["like=test", "control=good.npy"], "like=test control=good.npy"),
        (["images=3"], "images=3 like=test"),
        (["like=many.npy"], "sampling.count=100 101"),
        (["like=test", "sampling.components=cycle"], "sampling.components weights cycle"),
        (["like=test", "sampling.start=gmm7"], "sampling.start gmm1 gmm2 gmm7"),
        (["like=holes.npy"], "holes.npy[0]: NaN"),
        (["control=nowhere.npy"], "control=nowhere.npy .npy .npz"),
        (["control=text.npy"], "control=text.npy pickled"),
        (["control=good.npy", "sampling.start=gmm1"], "control=good.npy 3x1x1x4 gmm1 Nx4x4x4"),
        (["control=many.npy"], "control=many.npy 101x28x28 gmm2 Nx1x1x4"),
        (["control=negative.npy"], "control=negative.npy weights 0"),
        (["control=two.npz"], "control=two.npz `control` a b"),
    ],
)
def test_control_signals_that_cannot_be(
    run: str, dcgmm: Runner, tmp_path: Path, arguments: list[str], named: str
) -> None:
    good = np.full((3, 1, 1, 4), 0.25)
    np.save(tmp_path / "good.npy", good)
    np.save(tmp_path / "negative.npy", -good)
    np.save(tmp_path / "many.npy", np.zeros((101, 28, 28), np.uint8))
    np.save(tmp_path / "holes.npy", np.full((1, 28, 28), np.nan))
    np.savez(tmp_path / "two.npz", a=good, b=good)
    (tmp_path / "text.npy").write_text("text")
    dcgmm("sample", run, *arguments).check_refused(*named.split(), alone=False)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sampling.top_s=5"], "sampling.top_s 4 gmm1 5"),
        (["sampling.top_s=0"], "sampling.top_s 1 0"),
        (["sampling.top_s=many"], "sampling.top_s 1 many"),
        (["sampling.std_scale=none"], "sampling.std_scale 0 none"),
        (["sampling.start=gmm7"], "sampling.start gmm1 gmm2 gmm7"),
        (["sharpen=true", "sharpening.setting=full"], "sharpening.setting=full: default paper"),
        (["quality.count=-5"], "quality.count 0 -5"),
        (["quality.count=0", "quality.flat=latest"], "quality.flat=latest quality.count=0"),
        (["sharpening.iterations=7"], "sharpening.iterations=7 sharpen=true"),
        (["quality.flat=latest", "quality.count=30"], "quality.flat=latest one 2 28x28x1"),
        (["run=nowhere"], "run=nowhere latest"),
    ],
)
def test_mistakes_are_one_line(run: str, tiny_run: Path, dcgmm: Runner, arguments: list[str], named: str) -> None:
    outcome = dcgmm("sample", run, f"runs_dir={tiny_run.parents[1]}", *arguments)
    outcome.check_refused(*named.split(), alone=False)


def test_one_of_several_flat_models_must_be_given(run: str, dcgmm: Runner) -> None:
    flat = ["arch.layers=[{type:folding,kernel:[28,28]},{type:gmm,components:4}]", "trainer.replicas=2"]
    several = dcgmm("train", *QUICK, *flat).directory
    outcome = dcgmm("sample", run, *FEW, f"quality.flat={several}")
    one = outcome.err.split()[-1]
    outcome.check_refused(f"quality.flat={several}", 2, one, alone=False)
    assert dcgmm("sample", run, *FEW, f"quality.flat={one}").code == 0


def test_runs_without_a_usable_checkpoint(tiny_run: Path, dcgmm: Runner, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / META).write_text(json.dumps({}))
    dcgmm("sample", f"run={bare}").check_refused(bare, CHECKPOINT)
    (bare / CHECKPOINT).parent.mkdir()
    torch.save({**read_state(tiny_run / CHECKPOINT), "format": 999}, bare / CHECKPOINT)
    outcome = dcgmm("sample", f"run={bare}")
    outcome.check_refused(bare / CHECKPOINT, 999, FORMAT)


@pytest.mark.slow
def test_only_without_convolution_do_top_1_samples_repeat_centroids(dcgmm: Runner) -> None:
    """Figure 4, by diversity and the share of near-duplicates; the noise of the pixels is left out."""
    figures = {}
    for arch in ("2L-b", "2L-c", "2L-d"):
        quick = ["dataset=mnist_sample", "trainer.epochs=60", "trainer.annealing.alpha=0.1"]
        assert dcgmm("train", f"arch={arch}", *quick).code == 0
        options = ["sampling.top_s=1", "sampling.std_scale=[0,1]", "quality.count=500", "quality.bins=20"]
        figures[arch] = read_json(dcgmm("sample", *options).directory / "result.json")
    flat = figures.pop("2L-d")
    assert flat["diversity"] < 0.1
    assert flat["near_duplicates"] > 0.95
    for convolutional in figures.values():
        assert convolutional["diversity"] > 2
        assert convolutional["near_duplicates"] < 0.5
