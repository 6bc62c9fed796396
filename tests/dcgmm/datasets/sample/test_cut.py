from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dcgmm.datasets.catalogue import KNOWN, TRAIN_IMAGES, TRAIN_LABELS
from dcgmm.datasets.files import read_content
from dcgmm.datasets.idx import decode
from dcgmm.datasets.sample.cut import balanced_order, main

from ..conftest import tiny_set


def test_the_first_images_of_each_class_are_taken_in_mixed_blocks() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 1, 0, 2, 1, 0])
    order = balanced_order(labels, 6, 3, torch.Generator().manual_seed(0))
    assert sorted(order[:3].tolist()) == [0, 2, 3]
    assert sorted(order[3:].tolist()) == [1, 4, 5]


def test_cutting_gives_the_same_files_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCGMM_DATA", str(tmp_path / "root"))
    for name in ("mnist", "fashion_mnist"):
        tiny_set(name, monkeypatch).write(tmp_path / "root")
        monkeypatch.setitem(KNOWN, f"{name}_sample", replace(KNOWN[f"{name}_sample"], counts=(10, 10)))
    for folder in ("first", "second"):
        main(tmp_path / folder)
    first, second = (
        {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*.gz")}
        for folder in ("first", "second")
    )
    assert len(first) == 8
    assert first == second
    images, labels = (
        decode(read_content(tmp_path / "first" / "mnist" / f"{name}.gz")) for name in (TRAIN_IMAGES, TRAIN_LABELS)
    )
    assert images.shape == (10, 5, 4)
    assert sorted(labels.tolist()) == list(range(10))
    assert labels.tolist() != list(range(10))
