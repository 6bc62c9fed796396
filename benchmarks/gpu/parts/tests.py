"""The tests marked `gpu`; without a GPU they are skipped."""

import subprocess
import sys

import torch

from .shared import PATIENCE, ROOT, Notes

COMMAND = ("-m", "pytest", "-p", "no:cacheprovider", "-m", "gpu", "-rA", "--continue-on-collection-errors")


def run(note: Notes, device: torch.device, quick: bool) -> None:
    where = ["tests/dcgmm/training"] if quick else ["tests"]
    for name, more in (("as they are", []), ("warnings let pass", ["-o", "filterwarnings=default"])):
        with note.attempt(name):
            command = [sys.executable, *COMMAND, *where, *more]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60 * PATIENCE)
            note[name] = {"exit": done.returncode, "output": (done.stdout + done.stderr)[-6000:]}
            print("   " + (done.stdout.strip().splitlines() or ["nothing"])[-1])
            if done.returncode == 0:
                break
