"""Measure folders of many and of large images, and a million images in one file: times and memory.

python benchmarks/large_data.py DIRECTORY [--parts small,large,million]

Files are generated in the directory (1.5 GB in all), the caches and runs lie there too. Memory is the largest that a
process takes for itself; pages of mapped files, which the system takes back when it needs them, are told apart.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOAD = """
import sys, time
import dcgmm
started = time.perf_counter()
data = dcgmm.datasets.load("folder", path=sys.argv[1], **eval(f"dict({sys.argv[2]})"))
print(f"{time.perf_counter() - started:.2f}", len(data.train) + len(data.test))
"""
COLOURS = "arch.layers=[{type:folding,kernel:[16,16],stride:[16,16]},{type:gmm,components:25}]"


class Measured(NamedTuple):
    """A program that has ended."""

    seconds: float  # from start to end
    own: float  # largest memory of its own, MB
    mapped: float  # largest part of mapped files that was in memory, MB
    out: str


def main() -> None:
    """Generate what is not there yet, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--parts", default="small,large,million")
    given = parser.parse_args()
    place = given.directory.resolve()
    place.mkdir(parents=True, exist_ok=True)
    os.environ["DCGMM_DATA"] = str(place / "root")
    os.chdir(place)
    for part in given.parts.split(","):
        PARTS[part](place)


def small(place: Path) -> None:
    """60,000 files of 28x28."""
    folder = place / "small"
    if not folder.exists():
        for number, image in enumerate(_textures(60_000, 28, 1)):
            _save(image[..., 0], folder / str(number % 10) / f"{number:05d}.png")
    _loads("60,000 PNG 28x28", folder, "")


def large(place: Path) -> None:
    """500 files of 512x512 in colour."""
    folder = place / "large"
    if not folder.exists():
        for number, image in enumerate(_textures(500, 512, 3)):
            _save(image, folder / f"{number:03d}.png")
    _loads("500 PNG 512x512x3", folder, "color=True")
    train = ["train", "dataset=folder", f"dataset.path={folder}", "dataset.color=true", COLOURS]
    _show("train on them, 100 steps of 10", _dcgmm(*train, "trainer.steps=100", "trainer.batch_size=10"))
    _show("outliers input= of them", _dcgmm("outliers", "run=latest", f"input={folder}"))
    _show("outliers.path= of them", _dcgmm("outliers", "run=latest", f"outliers.path={folder}"))


def million(place: Path) -> None:
    """1,000,000 images of 28x28 in one file."""
    path = place / "million.npy"
    if not path.exists():
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (1_000_000, 28, 28))
        for first in range(0, len(images), 1000):
            images[first : first + 1000] = np.stack(list(_textures(1000, 28, 1, first)))[..., 0]
        del images
    _show("train arch=1L on the sample", _dcgmm("train", "arch=1L", "dataset=mnist_sample", "trainer.epochs=25"))
    _show("score 1,000,000 images 28x28", _dcgmm("outliers", "run=latest", f"input={path}"))


PARTS = {"small": small, "large": large, "million": million}


def _textures(count: int, side: int, channels: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Waves of random direction and length, with noise."""
    rng, axis = np.random.default_rng(seed), np.linspace(0, 12, side)
    found = []
    for _ in range(count):
        slope, phase = rng.normal(size=(2, channels)), rng.uniform(0, 6, channels)
        waves = 110 + 80 * np.sin(axis[:, None, None] * slope[0] + axis[:, None] * slope[1] + phase)
        found.append((waves + rng.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8))
    return found


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _loads(name: str, folder: Path, options: str) -> None:
    for path in (folder.parent / "root" / "decoded").glob("*.images"):
        path.unlink()
    for which in ("first", "second"):
        found = _measured([sys.executable, "-c", LOAD, str(folder), options])
        _show(f"load {name}, {which} time", found, found.out.split()[0])
    few = _measured([sys.executable, "-c", LOAD, str(folder), f"limit=200,{options}"])
    _show("with limit=200", few, few.out.split()[0])


def _dcgmm(*arguments: str) -> Measured:
    return _measured([sys.executable, "-m", "dcgmm_cli", *arguments])


def _measured(command: list[str]) -> Measured:
    started, own, mapped = time.perf_counter(), 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while process.poll() is None:
            try:
                lines = dict(
                    line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                )
            except (OSError, ValueError):
                continue
            own = max(own, int(lines.get("RssAnon", "0 kB").split()[0]))
            mapped = max(mapped, int(lines.get("RssFile", "0 kB").split()[0]))
            time.sleep(0.02)
        assert process.stdout is not None
        out = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(time.perf_counter() - started, own / 1e3, mapped / 1e3, out)


def _show(name: str, found: Measured, loaded: str = "") -> None:
    of_these = f" ({loaded} s of it loading)" if loaded else ""
    print(f"{name}: {found.seconds:.1f} s{of_these}, {found.own:.0f} MB of its own, {found.mapped:.0f} MB of files")


if __name__ == "__main__":
    main()
