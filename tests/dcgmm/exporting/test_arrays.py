import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dcgmm.exporting import arrays, save_arrays
from dcgmm.model import DCGMM
from dcgmm.outliers import Detector
from tests.dcgmm.exporting.test_detector import MODELS, made
from tests.dcgmm.small import small_images, small_model
from tests.refusals import option_refused, refused

EXAMPLE = Path(__file__).parents[3] / "examples" / "likelihood_with_numpy.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("likelihood_with_numpy", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", MODELS)
def test_numpy_alone_finds_the_same_log_likelihoods(name: str, example: ModuleType, tmp_path: Path) -> None:
    detector, images = made(name)
    model = detector.model
    save_arrays(model, tmp_path / "model.npz")
    found = example.log_likelihoods(np.load(tmp_path / "model.npz"), images.numpy())
    expected = model.score(images)
    assert list(found) == list(expected)
    for layer, values in found.items():
        np.testing.assert_allclose(values, expected[layer].log_prob.detach().numpy(), rtol=1e-8)


def test_both_files_hold_the_same_with_a_description(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    safetensors = pytest.importorskip("safetensors")
    model = small_model()
    detector = Detector.fit(model, small_images(20))
    expected = arrays(model, detector)
    assert {"gmm2.loc", "positions.gmm1.std", "images.joint.mean", "pixels.variance"} <= set(expected)
    save_arrays(model, tmp_path / "model.npz", detector)
    save_arrays(model, tmp_path / "model.safetensors", detector)
    with np.load(tmp_path / "model.npz") as archive:
        text = str(archive["description"])
        found = {name: archive[name] for name in archive.files if name != "description"}
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        assert file.metadata()["description"] == text
    for other in (found, numpy.load_file(tmp_path / "model.safetensors")):
        assert other.keys() == expected.keys()
        assert all((other[name] == array).all() for name, array in expected.items())
    assert json.loads(text)["layers"][0] == {"type": "folding", "kernel": [3, 2], "stride": [2, 1]}


def test_what_cannot_be(tmp_path: Path) -> None:
    with option_refused("path", tmp_path / "model.bin", ".npz", ".safetensors"):
        save_arrays(small_model(), tmp_path / "model.bin")
    with refused("one", "[2]"):
        arrays(DCGMM.side_by_side([small_model(), small_model(1)]))
