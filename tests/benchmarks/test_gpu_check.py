"""The GPU check runs without a GPU, a part in a process of its own, and its rehearsal takes the lines that want one."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"

# Plans by stand-ins for kernels, which are not launched.
PLANS = """
import unittest.mock, plans, torch
from dcgmm.model import fused
fused._kernels = unittest.mock.MagicMock
fused.takes = fused.contracts = fused.gathers = lambda *_: True
plans.CUDA = torch.device("cpu")
for name, variation, call in plans.calls(["2L-c:2"]):
    with torch.no_grad(), plans._varied(variation):
        call()
    print(name)
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, str(FOLDER / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


def test_parts_run_without_a_gpu_and_leave_what_they_found(tmp_path: Path) -> None:
    how = ("--device", "cpu", "--quick", "--out", str(tmp_path), "--parts", "use,fused")
    done = run("check.py", *how)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {name: status["exit"] for name, status in found["status"].items()} == {"use": 0, "fused": 0}
    assert found["parts"]["use"]["flat-factors"]["density"] == 0
    assert not found["parts"]["fused"]["available"]
    assert "==== use" in (tmp_path / "gpu_check.log").read_text()


def test_an_unknown_part_ends_it_with_those_there_are() -> None:
    done = run("check.py", "--parts", "use,nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("no part nothing: there are environment, tests, fused, correct,")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["environment", "correct", "factors", "use", "winners", "beside", "fused", "kernels", "steps"]
)
def test_rehearsal(part: str, tmp_path: Path) -> None:
    done = run("rehearse.py", part, str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in json.loads((tmp_path / f"{part}.json").read_text())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_fused_passes_compile_for_gpus_that_are_not_here() -> None:
    done = run("compile.py", "2L-c", "--capability", "80", "90")
    assert done.returncode == 0, done.stdout + done.stderr
    spilled, shared = map(int, re.findall(r"\d+", done.stdout.splitlines()[-1]))
    assert spilled <= 256  # 208 on sm_80, while annealing
    assert shared <= 80 * 1024  # what `fused.most_components` counts on


@pytest.mark.slow
def test_other_plans_are_taken_through_all_layers() -> None:
    done = subprocess.run([sys.executable, "-c", PLANS], capture_output=True, text=True, timeout=240, cwd=FOLDER)
    assert done.returncode == 0, done.stderr
    names = done.stdout.splitlines()
    assert {f"2L-c:2, step of layer {layer}" for layer in (1, 2)} < set(names)
    assert len(names) > 3 * len(set(names))
