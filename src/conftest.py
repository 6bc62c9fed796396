"""What the examples in the library's docstrings find: a trained run, images of a user's own, optional packages."""

from pathlib import Path

import numpy as np
import pytest

OPTIONAL = {"dcgmm.exporting.detector.save_onnx": "onnx"}


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in `runs/latest`, trained shortly, and five images in `new.npy`."""
    import dcgmm
    from dcgmm.checkpoints import read_state, save_detector, write_state

    folder = tmp_path_factory.mktemp("workplace")
    run = folder / "runs" / "latest"
    checkpoint = run / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    dataset = {"name": "mnist_sample", "limit": 300}
    data = dcgmm.datasets.load(**dataset)  # type: ignore[arg-type]  # one of each type
    model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
    dcgmm.fit(model, data.train.images, steps=20)
    dcgmm.save(model, checkpoint)
    rest = {"config": {"dataset": dataset}, "class_names": list(data.class_names), "finished": True}
    write_state(checkpoint, read_state(checkpoint) | rest)
    save_detector(dcgmm.Detector.fit(model, data.train.images), run)
    np.save(folder / "new.npy", data.test.images[:5].numpy())
    return folder


@pytest.fixture(autouse=True)
def surroundings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples of runs are run beside one; those that need a package that is not installed are left out."""
    if package := OPTIONAL.get(request.node.name):
        pytest.importorskip(package)
    if request.node.name.startswith("dcgmm.checkpoints."):
        monkeypatch.chdir(request.getfixturevalue("workplace"))
