import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dcgmm.datasets import ImageData, cache, load
from dcgmm.datasets.rows import content
from tests.dcgmm.datasets.parquet_files import png, write
from tests.refusals import check_names, option_refused, refused

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def pixels(count: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *(shape or (5, 4))), np.uint8)


def data_of(path: Path, **options: Any) -> ImageData:
    return load("parquet", path=path, **options)


def test_parts_are_told_by_names_of_files(tmp_path: Path) -> None:
    images, tests = pixels(6), pixels(3, seed=1)
    encoded, names = list(map(png, images)), ["cat", "dog", "cow"]
    write(tmp_path / "data" / "train-00000-of-00002.parquet", encoded[:4], [0, 1, 0, 2], names, row_group_size=3)
    write(tmp_path / "data" / "train-00001-of-00002.parquet", encoded[4:], [1, 2], names)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", list(map(png, tests)), [2, 1, 0], names)
    data = data_of(tmp_path)
    assert (data.class_names, data.classes) == (("cat", "dog", "cow"), (0, 1, 2))
    assert torch.equal(data.train.images[..., 0], torch.from_numpy(images))
    assert torch.equal(data.test.images[..., 0], torch.from_numpy(tests))
    assert data.train.labels.tolist() == [0, 1, 0, 2, 1, 2]
    some = data_of(tmp_path, classes=["dog", 2], limit=3, holdout=0.25)
    assert torch.equal(some.train.images[..., 0], torch.from_numpy(images[[1, 3, 4]]))
    assert torch.equal(some.test.images[..., 0], torch.from_numpy(images[[5]]))
    assert some.train.files is not None
    assert some.train.files[2].relative_to(tmp_path) == Path("data/train-00001-of-00002.parquet/0")


def test_parts_are_told_by_names_of_folders(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("validation", 2), ("test", 3)):
        write(tmp_path / part / "0000.parquet", list(map(png, pixels(count))), [0] * count)
    assert [len(part) for part in (data_of(tmp_path).train, data_of(tmp_path).test)] == [4, 3]
    (tmp_path / "test" / "0000.parquet").unlink()
    assert len(data_of(tmp_path).test) == 2


def test_one_file_without_parts_is_divided_by_class(tmp_path: Path) -> None:
    write(tmp_path / "mine.parquet", list(map(png, pixels(10))), ["b", "a"] * 5)
    data = data_of(tmp_path / "mine.parquet", test_fraction=0.2)
    assert data.class_names == ("a", "b")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([1, 0] * 4, [1, 0])
    write(tmp_path / "alone" / "x.parquet", list(map(png, pixels(10))))
    assert data_of(tmp_path / "alone").class_names == ("0",)


def test_images_are_prepared_as_those_of_a_folder(tmp_path: Path) -> None:
    images = pixels(3, 6, 8, 3)
    write(tmp_path / "train.parquet", list(map(png, images)), [0, 0, 0])
    for number, image in enumerate(images):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / f"{number}.png").write_bytes(png(image))
    for options in ({}, {"color": True}, {"size": [3, 4]}):
        given: dict[str, Any] = {**options, "test_fraction": 0.0}
        ours = data_of(tmp_path / "train.parquet", **given)
        assert torch.equal(ours.train.images, load("folder", path=tmp_path / "folder", **given).train.images)


def test_many_images_are_decoded_once_by_any_number_of_processes(tmp_path: Path) -> None:
    encoded = list(map(png, pixels(50))) * 22
    write(tmp_path / "train.parquet", encoded, [0] * 1100, row_group_size=100)
    threads = torch.get_num_threads()
    found = []
    try:
        for workers in (1, 2):
            torch.set_num_threads(workers)
            root = tmp_path / f"root{workers}"
            found.append(data_of(tmp_path / "train.parquet", root=root, test_fraction=0.0).train.images)
            assert [each.images for each in cache.listed(root)] == [1100]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)
    assert torch.equal(found[0], data_of(tmp_path / "train.parquet", cache=False, test_fraction=0.0).train.images)
    write(tmp_path / "train.parquet", encoded[::-1], [0] * 1100)
    again = data_of(tmp_path / "train.parquet", root=tmp_path / "root1", test_fraction=0.0).train.images
    assert torch.equal(again, found[0].flip(0))


def test_files_of_which_some_have_labels_only(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", list(map(png, pixels(2))), [0, 1])
    write(tmp_path / "train-1.parquet", list(map(png, pixels(2))))
    with refused(f"{tmp_path}:", "train-1.parquet"):
        data_of(tmp_path)


def test_rows_that_are_no_images_are_left_out(tmp_path: Path) -> None:
    encoded = [png(pixels(1)[0]), None, b"no image", png(pixels(1)[0])]
    write(tmp_path / "train.parquet", encoded, [0, 0, 0, 1])
    data = data_of(tmp_path / "train.parquet", test_fraction=0.0)
    assert data.train.labels.tolist() == [0, 1]
    assert [name for name, _ in data.failures] == ["1", "2"]
    check_names(data.failures[0][1], "row", "bytes")


def test_rows_of_a_file_that_has_changed_are_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for number, text in enumerate((b"one", b"two")):
        write(path, [text])
        os.utime(path, ns=(number, number))
        found = content(path / "0")
        assert isinstance(found, io.BytesIO)
        assert found.getvalue() == text


def bad(folder: Path, kind: str) -> Path:
    path, one = folder / "train.parquet", [png(pixels(1)[0])]
    if kind == "folder":
        return folder
    if kind == "cut off":
        write(path, one)
        path.write_bytes(path.read_bytes()[:-9])
    elif kind == "no images":
        parquet.write_table(pa.table({"text": ["a"], "label": [0]}), path)
    elif kind == "empty":
        write(path, [], pa.array([], pa.int64()))
    elif kind == "only test":
        write(folder / "test.parquet", one)
        return folder
    elif kind == "pipe":
        os.mkfifo(path)
        return folder
    elif kind in ("nested", "twice"):
        write(path, one, [0])
        table = parquet.read_table(path)
        twice = pa.Table.from_arrays([table["image"], table["label"], table["label"]], ["image", "label", "label"])
        parquet.write_table(
            twice if kind == "twice" else table.replace_schema_metadata({"huggingface": "[" * 99}), path
        )
    else:
        labels: dict[str, Any] = {"null": [0, None], "negative": [0, -1], "float": [0.0, 1.0]}
        write(path, one * 2, (labels | {"lists": [[0], [1]], "bytes": [b"a", b"b"]})[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("folder", ".parquet"),
        ("cut off", "train.parquet readable magic"),
        ("no images", "train.parquet `bytes`; text label"),
        ("empty", "train.parquet images"),
        ("only test", "test.parquet train.parquet"),
        ("null", "train.parquet: 1 2 label"),
        ("lists", "train.parquet list<element: int64>; numbers texts"),
        ("bytes", "train.parquet binary; numbers texts"),
        ("nested", "train.parquet damaged"),
        ("twice", "train.parquet readable"),
        ("pipe", "train.parquet readable regular"),
        ("negative", "train.parquet -1 0; 9999"),
        ("float", "train.parquet double; numbers texts"),
    ],
)
def test_what_is_no_such_data_set_is_refused(kind: str, named: str, tmp_path: Path) -> None:
    with refused(*named.split()):
        data_of(bad(tmp_path, kind))


@pytest.mark.parametrize(
    "about",
    ["[1]", "{}", '{"info": 3}', '{"info": {"features": null}}', '{"info": {"features": {"label": 3}}}']
    + [f'{{"info": {{"features": {{"label": {{"names": {names}}}}}}}}}' for names in ("3", "[1, null]", "[]", "{}")],
)
def test_what_is_said_of_classes_in_another_form_names_none(about: str, tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    write(path, list(map(png, pixels(4))), [0, 1, 0, 1])
    parquet.write_table(parquet.read_table(path).replace_schema_metadata({"huggingface": about}), path)
    assert data_of(path, test_fraction=0).class_names == ("0", "1")


def test_a_path_is_needed(tmp_path: Path) -> None:
    for given in ({}, {"path": tmp_path / "missing"}, {"path": tmp_path / "train.csv"}):
        options: dict[str, Any] = dict(given)
        with option_refused("path", options.get("path"), ".parquet", "folder"):
            load("parquet", **options)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train.parquet", [png(pixels(1)[0])])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with refused("pyarrow", "pip install 'dcgmm[parquet]'"):
        data_of(tmp_path)
