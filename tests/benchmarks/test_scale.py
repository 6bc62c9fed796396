"""The benchmark of scale runs, and draws what it has measured. Its figures are not judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


@pytest.mark.slow
def test_curves_are_measured_point_by_point_and_drawn(tmp_path: Path) -> None:
    out = tmp_path / "scale.json"
    done = run("--quick", "--curves", "images,processes", "--threads", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    found = json.loads(out.read_text())
    assert found["conditions"]["torch"]
    assert list(found["curves"]) == ["images", "processes"]
    images, processes = (curve["points"] for curve in found["curves"].values())
    assert [point["series"] for point in images] == ["in memory", "mapped file", "cold file", "cold, blocks of 100"]
    # 4 P K D FLOPs: x and x^2 with all components, two operations each.
    assert all(point["MFLOP"] == pytest.approx(4 * 100 * 784 * 25 / 1e6) for point in images)
    assert all(point["MFLOP"] == pytest.approx(4 * 100 * (64 * 49 * 25 + 1600 * 36) / 1e6) for point in processes)
    for point in images + processes:
        assert point["GFLOP/s"] == pytest.approx(point["MFLOP"] / point["ms"])
        assert min(point["ms"], point["CPU ms"], point["own MB"], point["file MB"]) > 0
    picture = out.with_suffix(".png")
    with Image.open(picture) as drawn:
        assert drawn.width > 200
    picture.unlink()
    assert run("--draw", str(out)).returncode == 0
    assert picture.is_file()


@pytest.mark.slow
def test_an_unknown_curve_is_told_which_there_are() -> None:
    done = run("--curves", "images,colours")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "scale.py: error: no curve colours: there are images, size, components, positions, layers, processes"
    )
