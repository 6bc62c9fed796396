"""Whole commands, from the shell's prompt back to it."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dcgmm.files import CHECKPOINT

from .shared import PATIENCE, ROOT, Notes, Row, data_set

ENTRY = "import sys; from dcgmm_cli.main import main; sys.argv[0] = 'dcgmm'; main()"


def run(note: Notes, device: torch.device, quick: bool) -> None:
    dataset = "mnist_sample" if quick else data_set()
    epochs, where = 1 if quick else 25, device.type
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)

        def train(name: str, arch: str, *words: str, limit: float = 60.0) -> None:
            given = [f"arch={arch}", f"dataset={dataset}", f"trainer.epochs={epochs}", f"trainer.device={where}"]
            _command(note, runs, name, "train", *given, f"hydra.run.dir={runs / name}", *words, limit=limit)

        def follow(name: str, *words: str) -> None:
            _command(note, runs, name, name, f"run={runs / '2L-c'}", f"device={where}", *words, limit=30)

        _command(note, runs, "help", "--help", limit=20)
        train("2L-c", "2L-c")
        if quick:
            return
        train("2L-c again", "2L-c")
        train("3L-a", "3L-a")
        with note.attempt("repeats itself"):
            one, two = (_parameters(runs / name / CHECKPOINT) for name in ("2L-c", "2L-c again"))
            note["two runs of 2L-c have the same parameters"] = all(torch.equal(one[key], two[key]) for key in one)
        follow("sample")
        follow("outliers", "outliers.dataset=fashion_mnist_sample")
        train("2L-c x 10", "2L-c", "trainer.replicas=10")
        train("tiles-400", "tiles-400")
        train("factors", "factors")
        follow("sharpen")
        follow("cluster")
        train("1L", "1L", limit=40)


def _command(note: Notes, runs: Path, name: str, *words: str, limit: float) -> None:
    limit *= PATIENCE
    if len(words) > 1:
        words = (*words, f"runs_dir={runs}")
    with note.attempt(name):
        started = time.perf_counter()
        try:
            done = subprocess.run(
                [sys.executable, "-c", ENTRY, *words],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired as error:
            said = error.stderr or b""
            text = said.decode() if isinstance(said, bytes) else said
            note[name] = {"cut off after (s)": limit, "said": text[-1500:]}
            return
        row: Row = {"exit": done.returncode, "wall (s)": round(time.perf_counter() - started, 2)}
        if done.returncode:
            row["said"] = (done.stdout + done.stderr)[-3000:]
        lines = done.stderr.splitlines()
        if warned := [line for line in lines if "WARN" in line.upper() or "no CUDA graph" in line]:
            row["warnings"] = warned[:10]
        result, meta = runs / name / "result.json", runs / name / "meta.json"
        if result.exists():
            found = json.loads(result.read_text())
            row |= {"steps alone (s)": found.get("train_seconds"), "layers": found.get("layers")}
        if meta.exists():
            row["device"] = (json.loads(meta.read_text()).get("starts") or [{}])[-1].get("device")
        note.show(name, row)


def _parameters(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["model"]["parameters"]
    return found
