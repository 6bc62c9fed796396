"""The documentation's list of result keys, against what commands write."""

import re
from pathlib import Path

import numpy as np
import pytest

from dcgmm.files import read_json
from dcgmm_cli.keys import flat
from tests.dcgmm_cli.commands.conftest import Runner

PAGE = Path(__file__).parents[3] / "docs" / "pages" / "reference" / "results.md"
PATTERNS = {
    "<layer>": r"gmm\d+",
    "<folding>": r"folding\d+",
    "<score>": r"\w+",
    "<method>": r"[^.]+(\.\d+)?",
    "<set>": "[^.]+",
    "<cluster>": r"\d+",
    "<figure>": r"[\w.]+",
}


def documented(command: str) -> tuple[list[str], list[str]]:
    """Patterns of a command's keys, as regular expressions: those that are always there, and those that may be."""
    page = PAGE.read_text()
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    text = sections["Every command"] + sections[command] + (sections["sample"] if command == "sharpen" else "")
    always, sometimes = list[str](), list[str]()
    for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE):
        names = [re.escape(name) for name in re.findall("`([^`]+)`", row)]
        for placeholder, pattern in PATTERNS.items():
            names = [name.replace(re.escape(placeholder), pattern) for name in names]
        (sometimes if row.startswith("*") else always).extend(names)
    return always, sometimes


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "outliers outliers.dataset=fashion_mnist_sample",
        "outliers input=images.npy outliers.maps=true",
        "sample quality.count=100 quality.bins=5 quality.frechet=false",
        "sample like=test images=4 sampling.count=8 quality.count=0",
        "sharpen sampling.count=4 quality.count=0 sharpening.iterations=3",
        "inpaint images=20 judge=false shown=2",
        "visualize images=100",
        "cluster cluster.count=200 cluster.merge=ward cluster.classes=3",
        "classify images=100 missing=[0.5]",
        "export format=npz",
    ],
)
def test_what_a_command_writes_is_listed_and_the_other_way_round(
    dcgmm: Runner, tmp_path: Path, tiny_run: Path, command: str
) -> None:
    np.save(tmp_path / "images.npy", np.zeros((5, 28, 28), np.uint8))
    name, *overrides = command.split()
    written = tiny_run
    if name != "train":
        outcome = dcgmm(name, f"run={tiny_run}", *overrides)
        assert outcome.code == 0, outcome.err
        written = outcome.directory
    always, sometimes = documented(name)
    if "input=images.npy" in overrides:  # of keys that judging always writes there are few
        always = ["command", "status", "seconds"]
    if name == "sharpen":  # it draws too, but that is not timed alone
        always.remove("sample_seconds")
    keys = set(flat(read_json(written / "result.json")))
    assert {key for key in keys if not any(re.fullmatch(each, key) for each in always + sometimes)} == set()
    assert {each for each in always if not any(re.fullmatch(each, key) for key in keys)} == set()
