"""What must hold of files that commands leave, whenever they end."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dcgmm.checkpoints import read_state
from dcgmm.files import TEMPORARY
from dcgmm_cli.records import LOCK, read_metrics

# What differs between two runs that computed the same: times, and what was typed where.
_OF_A_RUN = {"meta.json", "show.html", "loggers.json", LOCK}


def check_whole(path: Path) -> None:
    """A file is as its writer meant it: nothing is cut off, no number is NaN where it should not be."""
    if path.suffix == ".json":
        json.loads(path.read_text(), parse_constant=_no_constant)
    elif path.suffix == ".pt":
        read_state(path)
    elif path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix in (".csv", ".md"):
        assert path.read_text().endswith("\n")
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")


def _no_constant(text: str) -> None:
    raise AssertionError(f"{text} in a JSON file")


def check_all_whole(root: Path) -> None:
    """Every file under a directory; of what a killed process had not put in place yet, and of logs, nothing is said."""
    for path in root.rglob("*"):
        if path.is_file() and not path.name.endswith((TEMPORARY, ".log")) and ".hydra" not in path.parts:
            check_whole(path)
            if path.name == "metrics.jsonl":
                read_metrics(path.parent)


def content(directory: Path) -> dict[str, Any]:
    """What a run directory holds, by the name of its files; what tells when and where it was made is left out."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name not in _OF_A_RUN)
    return {
        str(path.relative_to(directory)): _content(path)
        for path in files
        if not path.name.endswith(".log") and ".hydra" not in path.parts
    }


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _untimed(json.loads(path.read_text()))
    if path.suffix == ".pt":
        return _untimed(read_state(path))
    return path.read_bytes()


def _untimed(value: Any) -> Any:
    """A content without what is measured in seconds, tensors as bytes."""
    if isinstance(value, dict):
        return {key: _untimed(part) for key, part in value.items() if not str(key).endswith("seconds")}
    if isinstance(value, list | tuple):
        return [_untimed(part) for part in value]
    if isinstance(value, torch.Tensor):
        return str(value.dtype), list(value.shape), value.contiguous().numpy().tobytes()
    return value


def check_same(one: Path, other: Path) -> None:
    """Two directories hold the same, bit for bit."""
    first, second = content(one), content(other)
    assert first.keys() == second.keys(), first.keys() ^ second.keys()
    assert not [name for name, value in first.items() if value != second[name]], f"{one} and {other} differ"
