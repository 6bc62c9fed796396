"""An exported detector, run by onnxruntime, says what the detector says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dcgmm.exporting import save_onnx
from dcgmm.exporting.detector import onnx_detector
from dcgmm.images import to_float
from dcgmm.model import DCGMM, LayerOptions, LayerType
from dcgmm.outliers import Detector
from dcgmm.outliers.localisation import at_pixels
from dcgmm.outliers.scores import localising
from tests.dcgmm.small import LAYERS, give_factors
from tests.refusals import option_refused

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FLAT = [LayerOptions(LayerType.folding, kernel=[5, 4]), LayerOptions(LayerType.gmm, components=4, factors=3)]
TILES = [
    LayerOptions(LayerType.folding, kernel=[2, 2], stride=[2, 2]),
    LayerOptions(LayerType.gmm, components=9, factors=2),
    LayerOptions(LayerType.pooling, kernel=[2, 2]),  # the last window juts out
    LayerOptions(LayerType.folding, kernel=[2, 2]),
    LayerOptions(LayerType.gmm, components=4),
]
OWN = [
    LayerOptions(LayerType.folding, kernel=[3, 2], stride=[2, 2]),
    LayerOptions(LayerType.gmm, components=4, factors=2, shared=False),
    LayerOptions(LayerType.folding, kernel=[2, 2]),
    LayerOptions(LayerType.gmm, components=4, shared=False),
]
MODELS = {
    "three-layers": ((9, 7, 2), LAYERS, 1.0),
    "flat": ((5, 4, 3), FLAT, 0.5),
    "tiles": ((10, 6, 1), TILES, 0.5),
    "own": ((7, 6, 1), OWN, 1.0),
    "pooled": ((10, 6, 1), TILES, 1.0),
}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[Detector, Tensor]:
    """A detector of a model with parameters that are all different, and images that it was not fitted to."""
    shape, layers, exponent = MODELS[name]
    generator = torch.Generator().manual_seed(3)
    built = DCGMM.build(shape, layers)
    model = DCGMM(list(built.layers), exponent=exponent)  # type: ignore[arg-type]
    with torch.no_grad():
        for layer in model.gmms.values():
            layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator))
            layer.loc.copy_(torch.rand(layer.loc.shape, generator=generator))
            layer.precision_sqrt.copy_(1 + 3 * torch.rand(layer.loc.shape, generator=generator))
    images = torch.randint(0, 256, (60, *shape), dtype=torch.uint8, generator=generator)
    images[:, 0, 0] = 0  # pixels that never vary
    return Detector.fit(give_factors(model).to(dtype), images[:50], pooled=name == "pooled"), images[50:]


def outputs(content: bytes, images: Tensor) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(content)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images.numpy()}), strict=True))


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [*((name, torch.float64, 1e-7) for name in MODELS), ("three-layers", torch.float32, 1e-4)],
)
def test_every_score_is_the_detectors(name: str, dtype: torch.dtype, tolerance: float) -> None:
    detector, images = made(name, dtype)
    report = detector.report(images)
    with option_refused("score", "auto"):
        onnx_detector(detector, "auto")
    for score in (name for name in detector.names if name != "auto"):
        found = outputs(onnx_detector(detector, score, c=1.0), images)
        expected = detector.standardised(score, report.scores[score]).numpy()
        np.testing.assert_allclose(found["score"], report.scores[score].numpy(), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found["standardised"], expected, rtol=tolerance, atol=tolerance)
        assert (found["outlier"] == (found["standardised"] < -1.0)).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_map_shows_each_pixels_nearest_positions(name: str) -> None:
    detector, images = made(name)
    maps = localising(detector.report(images).maps)
    expected = torch.stack([at_pixels(detector.model, layer, values) for layer, values in maps.items()]).amin(0)
    found = outputs(onnx_detector(detector), images)["map"]
    assert found.shape == images.shape[:3]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 7])
def test_floats_are_bytes_by_255_and_any_number_of_images_goes(count: int, tmp_path: Path) -> None:
    detector, images = made("tiles")
    given = images[:count]
    bytes_ = outputs(onnx_detector(detector), given)
    save_onnx(detector, tmp_path / "model.onnx", pixels="float32")
    floats = outputs((tmp_path / "model.onnx").read_bytes(), to_float(given, torch.float32))
    assert floats["score"].shape == (count,)
    for output, values in bytes_.items():
        np.testing.assert_allclose(floats[output], values, rtol=1e-5, atol=1e-5)


def test_the_file_says_what_it_decides_by() -> None:
    detector, _ = made("flat")
    session = onnxruntime.InferenceSession(onnx_detector(detector, "pixels", c=2.0))
    about = session.get_modelmeta().custom_metadata_map
    assert (about["score"], about["c"]) == ("pixels", "2")
    assert float(about["threshold"]) == detector.threshold("pixels", 2.0)
    assert session.get_inputs()[0].shape == ["N", 5, 4, 3]


def test_what_cannot_be() -> None:
    detector, _ = made("flat")
    with option_refused("score", "nothing", "joint", "worst"):
        onnx_detector(detector, "nothing")
    with option_refused("pixels", "int8", "uint8", "float32"):
        onnx_detector(detector, pixels="int8")
