"""Files that nobody should have to read, through every command that reads such: a line that names them, or a result."""

import contextlib
import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dcgmm.datasets.catalogue import KNOWN
from dcgmm.datasets.images import Preparation, load_images
from dcgmm.datasets.names import printable
from dcgmm.errors import InputError
from dcgmm_cli.array_files import read_array
from tests.dcgmm_cli.commands.conftest import QUICK
from tests.stress.conftest import share
from tests.stress.hostile import ARRAYS, GZIPPED, IDX, IMAGES, YAMLS, idx, make
from tests.stress.whole import check_all_whole
from tests.stress.zygote import Ended, Zygote

FEW = ["sampling.count=4", "quality.count=0"]
OF_IMAGES = {
    "outliers": ["outliers", "input={}"],
    "of outliers": ["outliers", "outliers.path={}"],
    "classify": ["classify", "methods=[generative]", "input={}"],
    "sharpen": ["sharpen", "input={}", *FEW],
    "inpaint": ["inpaint", "peers=false", "judge=false", "input={}"],
    "like": ["sample", "like={}", "sampling.count=200", "quality.count=0"],
}


@pytest.fixture(scope="module")
def home(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a trained run, `run`."""
    found = tmp_path_factory.mktemp("hostile")
    done = zygote.run(["train", *QUICK, "hydra.run.dir=run", "dataset.classes=[0,1,2]"], found)
    assert done.code == 0, done.err
    yield found
    assert not list(found.rglob("pwned"))


def check(ended: Ended, name: str, where: Path) -> Ended:
    """A command came to its end, or one line says which file is wrong; what it wrote is whole."""
    assert ended.code in (0, 2), (name, ended)
    assert "Traceback" not in ended.err, (name, ended.err)
    if ended.code == 2:
        (line,) = (line for line in ended.err.splitlines() if line.startswith("error: "))
        assert not name.isprintable() or name in line or printable(name) in line, line
    check_all_whole(where)
    return ended


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Either the body comes to its end, or an error names the file."""
    said = str(path)
    try:
        yield
    except InputError as error:
        said = str(error)
    assert str(path) in said


def quoted(path: Path) -> str:
    escaped = str(path).replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_an_image_by_itself(name: str, tmp_path: Path) -> None:
    (path,) = make({name: IMAGES[name]}, tmp_path).values()
    for shape, resize in (((28, 28, 1), False), ((28, 28, 3), True)):
        with told(path):
            found = load_images(path, Preparation(shape, resize)).images
            assert found.shape[1:] == shape
            assert found.isfinite().all()


@pytest.mark.parametrize("command", OF_IMAGES)
def test_a_folder_of_such_images(command: str, home: Path, zygote: Zygote, tmp_path: Path) -> None:
    make(IMAGES, tmp_path / "new")
    words = [word.format(quoted(tmp_path / "new")) for word in OF_IMAGES[command]]
    ended = check(zygote.run([*words, "run=run"], home), "new", home / "run")
    assert ended.code == 0, ended.err
    if command == "outliers":
        with (ended.directory / "scores.csv").open(newline="", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        assert {row["verdict"] for row in rows} <= {"inlier", "outlier", "failed"}
        assert not {"nan", "inf", "-inf"} & {cell for row in rows for cell in row.values()}


def test_a_training_on_such_images(home: Path, zygote: Zygote, tmp_path: Path) -> None:
    for group in ("a", "b"):
        make(IMAGES, tmp_path / "set" / group)
    small = [*QUICK[:1], "dataset=folder", f"dataset.path={quoted(tmp_path / 'set')}", "trainer.steps=6"]
    for size in ([], ["dataset.size=[28,28]", "dataset.color=true"], ["dataset.size=[28,28]", "dataset.white=65535"]):
        check(zygote.run(["train", *small, *size], tmp_path), "set", tmp_path / "runs")


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_an_array_by_itself(name: str, tmp_path: Path) -> None:
    (path,) = make({name: ARRAYS[name]}, tmp_path).values()
    for missing in (False, True):
        with told(path):
            found = load_images(path, Preparation((28, 28, 1)), missing=missing).images
            assert found.shape[1:] == (28, 28, 1)
            assert missing or found.isfinite().all()
    with told(path):
        assert isinstance(read_array("key", str(path), "images"), np.ndarray)


@pytest.mark.parametrize("part", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_idx_files(part: str, zygote: Zygote, tmp_path: Path) -> None:
    folder = tmp_path / KNOWN["kmnist"].folder  # whose checksums nobody knows
    for _, content in share(IDX.items(), part):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for other in KNOWN["kmnist"].files:
            (folder / other).write_bytes(idx(2, 28, 28) if "images" in other else idx(2))
        (folder / part).write_bytes(content)
        check(zygote.run(["train", *QUICK, "dataset=kmnist", "dataset.root=."], tmp_path), part, tmp_path)
    for _, maker in share(GZIPPED.items(), part):
        (folder / part).unlink(missing_ok=True)
        maker(folder / f"{part}.gz")
        check(zygote.run(["train", *QUICK, "dataset=kmnist", "dataset.root=."], tmp_path), part, tmp_path)


@pytest.mark.parametrize("group", ["arch", "dataset", "study"])
def test_files_of_ones_own(group: str, zygote: Zygote, tmp_path: Path) -> None:
    chosen = {"arch": "arch=x", "dataset": "dataset=x", "study": "+study=x"}[group]
    for name, content in share(YAMLS.items(), group):
        path = tmp_path / "mine" / group / "x.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        given = [word for word in QUICK if not chosen.startswith(word.split(".")[0].split("=")[0])]
        ended = zygote.run(["train", "--config-dir", "mine", *given, chosen], tmp_path)
        assert ended.code in (0, 2), (name, ended)
        assert "Traceback" not in ended.err, (name, ended.err)
        assert len([line for line in ended.err.splitlines() if line.startswith("error: ")]) == (ended.code == 2)
    assert not os.path.exists(tmp_path / "pwned")
