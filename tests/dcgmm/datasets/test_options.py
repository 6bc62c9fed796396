from pathlib import Path
from typing import Any

import pytest

from dcgmm.datasets import NAMES, DatasetOptions
from dcgmm.datasets.catalogue import KNOWN
from dcgmm.datasets.options import OWN, DataRootOptions
from dcgmm.errors import OptionError
from dcgmm.options import made, plain


def test_the_names_are_those_of_the_catalogue() -> None:
    # The names stand apart, so that help and completion need not import the catalogue.
    assert sorted(NAMES) == sorted([*KNOWN, *OWN])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OWN])
def test_a_name_is_all_that_a_known_set_needs(name: str) -> None:
    options = DatasetOptions(name=name)
    assert made(DatasetOptions, plain(options)) == options
    assert (options.classes, options.limit, options.holdout, options.root) == (None, None, 0.0, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "nist"),
        ("name", None),
        ("classes", []),
        ("limit", 0),
        ("limit", 2.5),
        ("holdout", 1.0),
        ("holdout", None),
        ("white", 4095),
        ("size", [28, 28]),
        ("color", True),
        ("test_fraction", 1.0),
    ],
)
def test_what_is_out_of_range_or_not_for_a_known_set(field: str, value: Any) -> None:
    with pytest.raises(OptionError) as error:
        made(DatasetOptions, {"name": "mnist", field: value})
    assert (error.value.field, error.value.value, error.value.owner) == (field, value, DatasetOptions)


def test_a_folder_of_one_s_own() -> None:
    given = {"name": "folder", "path": "images", "size": (28, 20), "color": True, "test_fraction": 0.0}
    assert made(DatasetOptions, given).size == [28, 20]
    for field, value in (("size", [28]), ("size", [28, 0]), ("size", 28), ("path", None)):
        with pytest.raises(OptionError) as error:
            made(DatasetOptions, given | {field: value})
        assert error.value.field == field


def test_the_name_must_be_given() -> None:
    with pytest.raises(OptionError) as error:
        made(DatasetOptions, {"limit": 3})
    assert error.value.field == "name"
    assert DataRootOptions().root is None


def test_a_path_is_kept_as_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert DatasetOptions(name="folder", path="a/../b").path == str(tmp_path / "b")
    assert DatasetOptions(name="folder", path="~/b").path == str(tmp_path / "home" / "b")
