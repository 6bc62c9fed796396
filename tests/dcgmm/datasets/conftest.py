"""A tiny data set in MNIST's place, so that no test needs MNIST or a network."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dcgmm.datasets.catalogue import IDX_FILES, KNOWN, KnownSet
from dcgmm.datasets.idx import encode


@dataclass(frozen=True)
class TinySet:
    """What stands in for a known data set: 20 training and 10 test images of 5x4 pixels, classes 0, 1, ... 9, 0, ..."""

    known: KnownSet
    arrays: dict[str, NDArray[np.uint8]]
    contents: dict[str, bytes]

    def write(self, root: Path) -> Path:
        """Put all files under a root; returns their folder."""
        folder = root / self.known.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.contents.items():
            (folder / name).write_bytes(content)
        return folder


def tiny_set(name: str, monkeypatch: pytest.MonkeyPatch) -> TinySet:
    """Put a tiny data set in a known one's place."""
    rng = np.random.default_rng(0)
    shapes = dict(zip(IDX_FILES, [(20, 5, 4), (20,), (10, 5, 4), (10,)], strict=True))
    arrays = {
        file: rng.integers(0, 256, shape, np.uint8) if len(shape) == 3 else np.arange(shape[0], dtype=np.uint8) % 10
        for file, shape in shapes.items()
    }
    contents = {file: encode(array) for file, array in arrays.items()}
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    # Of KMNIST no checksums are known.
    known = replace(KNOWN[name], files=dict.fromkeys(sums) if name == "kmnist" else sums)
    monkeypatch.setitem(KNOWN, name, known)
    return TinySet(known, arrays, contents)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> TinySet:
    """A tiny MNIST."""
    return tiny_set("mnist", monkeypatch)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH: what a test does not put there is not installed."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, name: str, script: str) -> None:
    """Install a program: a script for the shell, which finds no other program without its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
