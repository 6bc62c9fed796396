"""What a run wrote down may be damaged, or another program's: it is shown as far as it can be."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcgmm_cli.reports.comparing import comparison
from dcgmm_cli.reports.content import Files
from dcgmm_cli.reports.facts import report_of
from dcgmm_cli.reports.page import page
from dcgmm_cli.reports.sides import sides_of
from dcgmm_cli.reports.terminal import show

META: dict[str, Any] = {
    "command": "train",
    "starts": [{"time": "2026-01-31T10:00:00+00:00", "argv": ["dcgmm", "train"], "device": "cpu"}],
    "config": {
        "seed": 3,
        "arch": {"name": "x", "layers": [{"type": "gmm", "components": 4}]},
        "dataset": {"name": "y"},
    },
    "layers": [
        {
            **{"name": "gmm1", "layer": "G(4)", "input_shape": [1, 1, 9], "output_shape": [1, 1, 4]},
            **{"positions": 1, "parameters": 76, "flops": 144},
        }
    ],
    "data": {"source": "z", "image_shape": [3, 3, 1], "train": 8, "test": 2, "classes": []},
    "git": {"sha": "abc", "dirty": False},
    "packages": {"torch": "2"},
}
RESULT: dict[str, Any] = {
    **{"command": "train", "status": "finished", "seconds": 1.5, "train_seconds": 1.0, "steps": 10, "epochs": 1},
    "density": {"nats": 1.0, "bits_per_dimension": 2.0},
    "layers": {"gmm1": {"train_log_likelihood": 1.0, "sigma": 0.1}},
}
VALUES: list[Any] = [
    None,
    3,
    "text",
    [1],
    ["a"],
    [[]],
    [{}],
    {"a": 1},
    {"a": None},
    [{"argv": 3}],
    10**400,
    "\ud800",
    [None],
]


def shown(directory: Path, other: Path) -> None:
    for report in (report_of(directory), comparison(sides_of([str(directory), str(other)], "runs"))):
        show(report)
        page(report, directory / "page.html").encode()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value).encode(errors="replace").decode()[:12])
def test_any_part_may_be_anything(value: Any, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.json").write_text(json.dumps(META))
        (tmp_path / name / "result.json").write_text(json.dumps(RESULT))
    one, other = tmp_path / "one", tmp_path / "other"
    shown(one, other)
    for file, whole in (("meta.json", META), ("result.json", RESULT)):
        for key in whole:
            (one / file).write_text(json.dumps({**whole, key: value}))
            shown(one, other)
        (one / file).write_text(json.dumps(whole))
    for key in META["config"]:
        (one / "meta.json").write_text(json.dumps({**META, "config": {**META["config"], key: value}}))
        shown(one, other)
    for key in META["data"]:
        (one / "meta.json").write_text(json.dumps({**META, "data": {**META["data"], key: value}}))
        shown(one, other)


def test_layers_that_are_none(tmp_path: Path) -> None:
    arch = {"layers": [{"type": "gmm", "size": 3}, 5, None]}
    (tmp_path / "meta.json").write_text(json.dumps({**META, "layers": None, "config": {"arch": arch}}))
    assert "size" in page(report_of(tmp_path), tmp_path / "page.html")


def test_what_another_process_has_not_put_in_place_yet(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps(META))
    (tmp_path / ".result.json.0123.tmp").symlink_to("gone")
    (tmp_path / ".lock").touch()
    files = report_of(tmp_path).sections[-1].blocks[0]
    assert isinstance(files, Files)
    assert [path.name for path in files.sizes] == ["meta.json"]
