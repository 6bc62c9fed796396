import sys
from pathlib import Path

import numpy as np
import pytest

from dcgmm.checkpoints import load_run
from dcgmm.datasets import load
from dcgmm.files import read_json
from tests.dcgmm_cli.commands.conftest import Runner


def test_arrays_of_a_run(installed: Runner, tiny_run: Path) -> None:
    done = installed("export", f"run={tiny_run}", "format=npz")
    assert done.code == 0, done.err
    assert done.directory.parent == tiny_run / "export"
    with np.load(done.directory / "model.npz") as archive:
        assert (archive["gmm1.loc"] == load_run(tiny_run).model.gmms["gmm1"].loc.detach().numpy()).all()
    result = read_json(done.directory / "result.json")
    assert result["file"] == "model.npz"
    assert result["bytes"] == (done.directory / "model.npz").stat().st_size


def test_a_detector_in_onnxruntime(dcgmm: Runner, tiny_run: Path) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    done = dcgmm("export", f"run={tiny_run}", "score=worst", "c=2")
    assert done.code == 0, done.err
    images = load("mnist_sample", limit=20).test.images
    session = onnxruntime.InferenceSession(str(done.directory / "model.onnx"))
    score, _, outlier, _ = session.run(None, {"images": images.numpy()})
    detector = load_run(tiny_run).detector()
    expected = detector.scores(images)["worst"].numpy()
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    assert (outlier == (expected < detector.threshold("worst", 2.0))).all()


def test_mistakes(dcgmm: Runner, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dcgmm("export", f"run={tiny_run}", "format=h5").check_refused("format=h5:", "npz", "safetensors", "onnx")
    for name, arguments in {"onnx": ["format=onnx"], "safetensors.numpy": ["format=safetensors"]}.items():
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            outcome = dcgmm("export", f"run={tiny_run}", *arguments)
        outcome.check_refused(name.partition(".")[0], "pip install 'dcgmm[", alone=False)
    outcome = dcgmm("export", f"run={tiny_run}", "score=nothing")
    outcome.check_refused("score", "joint", "worst", "nothing", alone=False)
