"""The benchmark of processes runs. Its figures are not judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "processes.py"


@pytest.mark.slow
def test_a_row_for_each_batch() -> None:
    torchrun = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc-per-node=2"]
    words = [str(SCRIPT), "2L-d", "--batches", "10", "20", "--rounds", "1"]
    done = subprocess.run([*torchrun, *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = [line.replace("|", "").split() for line in done.stdout.splitlines() if line.startswith("2L-d")]
    assert [row[:2] for row in rows] == [["2L-d", "10"], ["2L-d", "20"]]
    assert all(float(value) > 0 for row in rows for value in row[2:])
