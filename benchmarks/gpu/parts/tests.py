"""The tests marked `gpu`, which are skipped without one, and those of the fused passes, which then are interpreted."""

import importlib.util
import subprocess
import sys

import torch

from .shared import PATIENCE, ROOT, Notes

COMMAND = ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:benchmark", "-rA", "--continue-on-collection-errors")
PASSES = "tests/dcgmm/model/fused"


def run(note: Notes, device: torch.device, quick: bool) -> None:
    # Others are not collected: that takes its time, and packages that such a machine may lack.
    files = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in path.read_text()]
    marked = ["-m", "gpu", *files]
    # Kernels of many kinds are compiled, by as many processes.
    passes = [PASSES, *(["-k", "pooled"] if quick else ["-n", "8"] if importlib.util.find_spec("xdist") else [])]
    for what, words in (("gpu", marked), ("fused passes", passes)):
        for how, more in (("as they are", []), ("warnings let pass", ["-o", "filterwarnings=default"])):
            with note.attempt(f"{what}, {how}"):
                if _passed(note, f"{what}, {how}", [*words, *more]):
                    break


def _passed(note: Notes, name: str, words: list[str]) -> bool:
    command = [sys.executable, *COMMAND, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60 * PATIENCE)
    note[name] = {"exit": done.returncode, "output": (done.stdout + done.stderr)[-6000:]}
    print(f"   {name}: " + (done.stdout.strip().splitlines() or ["nothing"])[-1])
    return done.returncode == 0
