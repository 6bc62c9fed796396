from pathlib import Path

import pytest

from dcgmm.datasets import DatasetOptions
from dcgmm_cli.trained import at_hand


def test_data_are_sought_where_they_were_and_then_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    there = DatasetOptions(name="mnist", root=str(tmp_path), classes=[1])
    assert at_hand(there) == there
    gone = DatasetOptions(name="fashion_mnist", root=str(tmp_path), limit=3)
    assert at_hand(gone) == DatasetOptions(name="fashion_mnist", root=None, limit=3)


@pytest.mark.parametrize("name", ["mnist_sample", "mnist"])
def test_a_default_root_stays_the_default(name: str) -> None:
    options = DatasetOptions(name=name)
    assert at_hand(options) == options
