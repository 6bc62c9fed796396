import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcgmm.datasets import decoding
from dcgmm.datasets.decoding import Decoding, WorkerError, decode_all
from dcgmm.datasets.pixels import Decoded


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Images of all kinds, among them some that cannot be used; a name that is no UTF-8."""
    rng = np.random.default_rng(0)
    for number in range(7):
        Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    Image.fromarray(np.full((5, 4), 4000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("L", (4, 5)).save(tmp_path / "two.tif", save_all=True, append_images=[Image.new("L", (4, 5))])
    Image.new("L", (3, 5)).save(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    return sorted(tmp_path.iterdir())


def _plain(found: Decoded | str) -> object:
    return found if isinstance(found, str) else (found.pixels.tolist(), found.frames, found.peak)


@pytest.mark.parametrize("how", [Decoding(True), Decoding(False, (3, 3)), Decoding(False, shape=(5, 4, 1))])
def test_any_number_of_processes_finds_the_same(files: list[Path], how: Decoding) -> None:
    alone, together = (list(map(_plain, decode_all(files, how, workers))) for workers in (1, 3))
    assert alone == together
    reasons = [found for found in alone if isinstance(found, str)]
    assert reasons
    assert any("5x3x1" in reason and "5x4x1" in reason for reason in reasons) == (how.shape is not None)


def test_more_processes_than_files(files: list[Path]) -> None:
    assert len(list(decode_all(files[:1], Decoding(True), 3))) == 1
    assert list(decode_all([], Decoding(True), 2)) == []


def test_a_process_that_ends_is_told(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerError, match=r"^a process that decodes images ended \(1\) at .*0\.png: out of memory, or"):
        list(decode_all(files, Decoding(True), 2))


def test_processes_end_with_who_asked(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = decoding._start

    def kept(*given: object) -> subprocess.Popen[bytes]:
        started.append(start(*given))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(decoding, "_start", kept)
    found = decode_all(files, Decoding(True), 2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert all(worker.returncode is not None for worker in started)
    # Killed, it cannot end them: nobody reads what they write, and that ends them.
    worker = start([files[0]] * 100_000, Decoding(True, (100, 100)), ExitStack())
    assert worker.stdout is not None
    worker.stdout.close()
    assert worker.wait(60) == 1
