"""The benchmark runs, writes what it measured, and compares two runs. Its figures are not judged here."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dcgmm
from dcgmm.model.layers import described
from tests.refusals import check_names

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench.py"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, str(BENCH), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


@pytest.mark.slow
def test_a_run_and_its_comparison(tmp_path: Path) -> None:
    out = tmp_path / "new.json"
    done = bench("--quick", "--dataset", "mnist_sample", "--archs", "2L-d", "--whole", "1L", "--out", str(out))
    assert done.returncode == 0, done.stderr
    written = json.loads(out.read_text())
    assert written["conditions"]["torch"]
    results = written["results"]
    step = results["step 2L-d"]
    # 8 P D K FLOPs a GMM layer: x and x^2, forward and backward, two operations each.
    flops = 8 * 100 * (784 * 25 + 25 * 36)
    rate = 1e9 * results["machine"]["float32 matrix product (GFLOP/s)"]
    assert abs(step["floor (ms)"] / (1e3 * flops / rate) - 1) < 1e-9
    assert abs(step["ratio"] - step["batch 100 (ms)"] / step["floor (ms)"]) < 1e-9
    assert all(value > 0 for row in results.values() for value in row.values())

    written["results"]["step 2L-d"]["batch 100 (ms)"] = 2 * step["batch 100 (ms)"]
    (tmp_path / "slower.json").write_text(json.dumps(written))
    compared = bench("--compare", str(out), str(tmp_path / "slower.json"))
    assert compared.returncode == 0, compared.stderr
    (row,) = [line for line in compared.stdout.splitlines() if "step 2L-d" in line and "batch 100 (ms)" in line]
    assert row.split("│")[-2].strip() == "2.00"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_gpu_there_is_one_line_about_it() -> None:
    done = bench("--device", "cuda")
    assert done.returncode == 2
    check_names(done.stderr.removesuffix("\n"), "bench.py:", "device", "cpu", "auto", "cuda")
    assert not done.stdout


def test_steps_of_layers_with_factors_are_timed_before_and_after_these_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH.parent)
    module = importlib.import_module("bench_steps")
    small = described([{"type": "folding", "kernel": [4, 4]}, {"type": "gmm", "components": 4, "factors": 3}])
    monkeypatch.setattr(dcgmm, "arch", lambda _: small)
    images = torch.randint(256, (150, 4, 4, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = SimpleNamespace(train=SimpleNamespace(images=images))
    results = module.step_times(["small"], data, torch.device("cpu"), 1e9, 0.0)
    assert list(results) == ["step small", "step small, its factors"]
    before, after = results.values()
    # 8 P D K FLOPs, and 2 P D K L for the product of points and factors.
    assert before["floor (ms)"] == pytest.approx(8 * 100 * 16 * 4 / 1e6)
    assert after["floor (ms)"] == pytest.approx((8 + 2 * 3) * 100 * 16 * 4 / 1e6)
    assert all(value > 0 for row in results.values() for value in row.values())
