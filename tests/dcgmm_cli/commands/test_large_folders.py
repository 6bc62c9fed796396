"""A folder of many images, through the installed command: decoded once, whoever asks and however often."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgmm.datasets import cache
from dcgmm.files import read_json
from tests.dcgmm.datasets.parquet_files import png, write
from tests.dcgmm_cli.commands.conftest import Runner

COUNT = 1000
SETTINGS = [
    "dataset=folder",
    "arch.layers=[{type:gmm,components:4}]",
    "trainer.steps=50",
    "trainer.annealing.alpha=0.5",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand training images, one of which cannot be read, and a few test images."""
    place, rng = tmp_path_factory.mktemp("large") / "mine", np.random.default_rng(0)
    for part, count in (("train/good", COUNT), ("test/good", 20), ("test/bad", 20)):
        (place / part).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 100, (4, 4), np.uint8) + 100 * (part == "test/bad")
            Image.fromarray(pixels.astype(np.uint8)).save(place / part / f"{number}.png")
    (place / "train" / "good" / "7.png").write_bytes(b"no image")
    return place


@pytest.mark.slow
def test_all_commands_share_what_is_decoded(
    folder: Path, tmp_path: Path, installed: Runner, dcgmm: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, train = tmp_path / "root", ["train", *SETTINGS, f"dataset.path={folder}"]
    monkeypatch.setenv("DCGMM_DATA", str(root))
    first = installed(*train)
    assert first.code == 0, first.err
    plain, again = dcgmm(*train, "dataset.cache=false"), dcgmm(*train)
    done = f"decode: {COUNT} of {COUNT} images (100%)"
    assert [done in run.err for run in (first, again, plain)] == [True, False, True]
    results = [read_json(Path(tmp_path, run.directory, "result.json")) for run in (first, again, plain)]
    assert results[0]["failed"] == 1
    assert results[0]["layers"] == results[1]["layers"] == results[2]["layers"]
    said = [[line for line in run.err.splitlines() if "left out" in line] for run in (first, again, plain)]
    assert said[0] == said[1] == said[2] != []
    judged = dcgmm("outliers", "run=latest", f"outliers.path={folder / 'train'}")
    assert judged.code == 0, judged.err
    (one, other) = cache.listed(root)
    assert {one.images, other.images} == {COUNT - 1}
    listed = dcgmm("data")
    assert one.name in listed.out
    assert "training images of good" in listed.out
    assert dcgmm("data", f"remove={one.name}").code == 0
    assert [each.name for each in cache.listed(root)] == [other.name]
    refused = installed("data", "remove=none-such")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "remove=none-such" in refused.err


def test_an_array_file_is_trained_on_and_judged(tmp_path: Path, installed: Runner, dcgmm: Runner) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.repeat([0, 1], 30))
    train = ["train", "dataset=arrays", *SETTINGS[1:]]
    done = installed(*train, "dataset.path=mine.npz", "dataset.classes=[0]")
    assert done.code == 0, done.err
    assert "folder: 0" not in done.err
    judged = dcgmm("outliers", "run=latest")
    assert judged.code == 0, judged.err
    assert read_json(tmp_path / judged.directory / "result.json")["outliers"]["images"] == 6
    (tmp_path / "bad.npy").write_bytes(b"no array")
    for path in ("bad.npy", "missing.npy"):
        refused = dcgmm(*train, f"dataset.path={path}")
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert path in refused.err


def test_parquet_files_are_trained_on_and_judged(tmp_path: Path, installed: Runner, dcgmm: Runner) -> None:
    pytest.importorskip("pyarrow")
    encoded = [png(image) for image in np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8)]
    write(tmp_path / "mine" / "train-00000-of-00001.parquet", encoded, [0, 1] * 30, ["cat", "dog"])
    train = ["train", "dataset=parquet", *SETTINGS[1:]]
    done = installed(*train, "dataset.path=mine", "dataset.classes=[cat]")
    assert done.code == 0, done.err
    judged = dcgmm("outliers", "run=latest")
    assert judged.code == 0, judged.err
    assert read_json(tmp_path / judged.directory / "result.json")["outliers"]["images"] == 6
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    for path in ("bad.parquet", "missing.parquet"):
        refused = dcgmm(*train, f"dataset.path={path}")
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert path in refused.err
