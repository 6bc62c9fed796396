import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import dcgmm as library
from dcgmm.checkpoints import load_run
from dcgmm.classification import GenerativeClassifier
from dcgmm.files import read_json
from tests.dcgmm_cli.commands.conftest import QUICK, Runner

FEW = ["images=60", "missing=[]", "shown=0"]


@pytest.fixture
def run(tiny_run: Path) -> str:
    return f"run={tiny_run}"


def table(directory: Path) -> list[dict[str, str]]:
    with (directory / "classes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_classify_leaves_what_is_documented(run: str, tiny_run: Path, installed: Runner) -> None:
    outcome = installed("classify", run, "missing=[0.5]", "shown=3", "readout.C=0.1")
    assert outcome.code == 0, outcome.err
    directory = outcome.directory
    assert directory.parent == tiny_run / "classify"
    result = read_json(directory / "result.json")
    assert (result["command"], result["status"], result["images"]) == ("classify", "finished", 300)
    assert result["classes"] == list("0123456789")
    arrays = np.load(directory / "probabilities.npz")
    label = torch.from_numpy(arrays["label"])
    for method in ("generative", "readout"):
        figures = result[method]
        assert method in outcome.out
        assert 0 < figures["ece"] < 1
        probabilities = torch.from_numpy(arrays[method])
        assert probabilities.shape == (300, 10)
        assert float((probabilities.argmax(-1) == label).double().mean()) == pytest.approx(figures["accuracy"])
        assert float(-probabilities.gather(1, label[:, None]).log().mean()) == pytest.approx(figures["log_loss"])
        confusion = torch.tensor(figures["confusion"])
        assert int(confusion.trace()) == round(300 * figures["accuracy"])
        assert torch.equal(confusion.sum(1), label.bincount(minlength=10))
        assert sum(figures["reliability"]["count"]) == 300
        assert set(result["curve"][method]) == {"accuracy", "log_loss", "ece"}
        # It is what the library says.
        trained = load_run(tiny_run)
        fields: dict[str, Any] = {"C": 0.1} if method == "readout" else {}
        classifier = trained.classifier(method, **fields)
        assert classifier.description.items() <= figures.items()
        found = classifier.log_posterior(trained.data().test.images).exp()
        torch.testing.assert_close(found, probabilities, rtol=1e-4, atol=1e-5)
    assert result["curve"]["missing"] == [0.5]
    names = ("confusion", "reliability", "missing", "wrong_generative", "wrong_readout")
    assert {path.name for path in (directory / "figures").iterdir()} == {f"{name}.png" for name in names}


def test_one_method_a_mask_no_curve_and_the_table_of_results(run: str, tiny_run: Path, dcgmm: Runner) -> None:
    plain = dcgmm("classify", run, *FEW, "methods=[generative]")
    half = dcgmm("classify", run, *FEW, "methods=[generative]", "mask=right", "share=0.75")
    results = [read_json(outcome.directory / "result.json") for outcome in (plain, half)]
    for result in results:
        assert "readout" not in result
        assert "curve" not in result
        assert result["images"] == 60
    assert results[1]["generative"]["log_loss"] != results[0]["generative"]["log_loss"]
    assert not (plain.directory / "figures" / "missing.png").exists()
    outcome = dcgmm("results", str(tiny_run), "command=classify", "status=finished", "format=csv")
    assert outcome.code == 0, outcome.err
    assert "generative.accuracy" in outcome.out


def test_new_images(run: str, tiny_run: Path, dcgmm: Runner, tmp_path: Path) -> None:
    trained = load_run(tiny_run)
    test = trained.data().test
    images = test.images[:20].float().div(255).numpy()
    images[3, :14] = np.nan
    np.save(tmp_path / "some.npy", images)
    outcome = dcgmm("classify", run, "readout.C=1", "input=some.npy", "mask=nan")
    assert outcome.code == 0, outcome.err
    rows = table(outcome.directory)
    assert [row["file"] for row in rows] == [f"some.npy[{n}]" for n in range(20)]
    classifier = trained.classifier("generative")
    seen = ~np.isnan(images).any(-1)
    expected = classifier.log_posterior(images, seen).exp()
    found = torch.tensor([[float(row[f"generative_p_{c}"]) for c in range(10)] for row in rows])
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)
    assert [int(row["generative"]) for row in rows] == classifier.predict(images, seen).tolist()
    assert sum(float(rows[0][f"readout_p_{c}"]) for c in range(10)) == pytest.approx(1, abs=1e-4)
    # Without the mask it is an image that cannot be used.
    outcome = dcgmm("classify", run, "readout.C=1", "input=some.npy")
    assert outcome.code == 0, outcome.err
    rows = table(outcome.directory)
    assert (rows[-1]["file"], rows[-1]["generative"]) == ("some.npy[3]", "")
    assert "NaN" in rows[-1]["problem"]
    result = read_json(outcome.directory / "result.json")
    assert (result["images"], result["failed"]) == (19, 1)


def test_images_of_some_classes_are_drawn(run: str, tiny_run: Path, dcgmm: Runner) -> None:
    outcome = dcgmm("sample", run, "classes=[3,'8']", "sampling.count=6", "sampling.top_s=[1,2]", "quality.count=0")
    assert outcome.code == 0, outcome.err
    arrays = np.load(outcome.directory / "samples.npz")
    assert arrays["label"].tolist() == 2 * [3, 3, 3, 8, 8, 8]
    trained = load_run(tiny_run)
    classifier = trained.classifier()
    assert isinstance(classifier, GenerativeClassifier)
    weights = classifier.component_weights(torch.tensor([3, 3, 3, 8, 8, 8]))
    expected = library.sample(trained.model, 6, top_s=2, weights=weights)
    assert np.array_equal(arrays["components_gmm1"][6:], expected.components["gmm1"])
    assert np.allclose(arrays["images"][6:], expected.images.clamp(0, 1), atol=1e-6)


def test_a_class_that_the_run_lacks(dcgmm: Runner) -> None:
    trained = dcgmm("train", *QUICK, "trainer.epochs=1", "dataset.classes=[0,1,2]")
    assert trained.code == 0, trained.err
    outcome = dcgmm("classify", f"run={trained.directory}", *FEW, "methods=[generative]")
    assert outcome.code == 0, outcome.err
    assert read_json(outcome.directory / "result.json")["classes"] == ["0", "1", "2"]
    for classes in ("[7]", "[0,nine]"):
        wrong = classes.strip("[]").rpartition(",")[2]
        dcgmm("sample", f"run={trained.directory}", f"classes={classes}").check_refused("classes", 0, 1, 2, wrong)


def test_one_class_and_no_classes(dcgmm: Runner, tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "loose" / f"{number}.png")
    trained = ["trainer.epochs=1", "trainer.batch_size=20"]
    one = dcgmm("train", *QUICK, *trained, "dataset.classes=[4]")
    none = dcgmm("train", *QUICK, *trained, "dataset=folder", f"dataset.path={tmp_path / 'loose'}")
    for run, hint in ((one, ""), (none, "folder sub-folder")):
        assert run.code == 0, run.err
        for command in (("classify",), ("sample", "classes=[0]")):
            outcome = dcgmm(*command, f"run={run.directory}")
            outcome.check_refused("one class", "two", *hint.split())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("methods=[]", "methods one empty"),
        ("methods=[knn]", "methods generative readout knn"),
        ("generative.concentration=0", "generative.concentration 0 0.0"),
        ("readout.C=-1", "readout.C 0 -1.0"),
        ("readout.layers=[gmm7]", "readout.layers gmm1 gmm2 gmm7"),
        ("missing=[0.5,1]", "missing (0, 1) [0.5, 1.0]"),
        ("mask=nan", "mask=nan input=:"),
        ("share=0.5", "share=0.5 mask=null: random"),
        ("mask=small.npy", "mask 28x28 7x7"),
        ("mask=middle", "mask=middle left right nan"),
        ("input=holes.npy", "holes.npy: 1 holes.npy[0]: NaN"),
        ("input=nowhere", "nowhere .npy"),
        ("input=holes.npy images=3", "images=3 input=holes.npy"),
        ("classes=[0]", "classes classify"),
        ("run=nowhere", "run=nowhere latest"),
    ],
)
def test_bad_input_is_one_clear_line(run: str, dcgmm: Runner, tmp_path: Path, arguments: str, named: str) -> None:
    arrays: dict[str, NDArray[Any]] = {"holes": np.full((1, 28, 28), np.nan, np.float32), "small": np.eye(7)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    dcgmm("classify", run, *arguments.split()).check_refused(*named.split())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("classes=[]", "classes one empty"),
        ("classes=[11]", "classes 0 1 11"),
        ("classes=[1] sampling.start=gmm1", "classes sampling.start=gmm1"),
        ("classes=[1] like=test", "classes like=test"),
        ("classes=[1] sampling.components=cycle", "sampling.components weights cycle"),
    ],
)
def test_classes_that_cannot_be_drawn(run: str, dcgmm: Runner, arguments: str, named: str) -> None:
    dcgmm("sample", run, *arguments.split()).check_refused(*named.split())
