import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, Browser
from tests.dcgmm_cli.commands.conftest import Runner
from tests.dcgmm_cli.commands.test_show import section, without_torch
from tests.dcgmm_cli.reports.test_page import check_for_everybody

LAYERS = {"1L": [{"type": "gmm", "components": 25}], "small": [{"type": "gmm", "components": 4}]}


def run_of(root: Path, arch: str, seed: int, figures: dict[str, Any], **settings: Any) -> Path:
    """A training run of four measurements, written by hand."""
    home = root / f"{arch}-mnist" / f"run-{seed}-{len(settings)}"
    (home / "checkpoints").mkdir(parents=True)
    (home / "checkpoints" / "last.pt").touch()
    config = {"arch": {"name": arch, "layers": LAYERS[arch]}, "dataset": {"name": "mnist"}, "seed": seed, **settings}
    start = {"time": "2026-01-02T03:04:05+00:00"}
    shapes = {"input_shape": [1, 1, 2], "output_shape": [1, 1, 3], "positions": 1}
    layers = [{"name": "gmm1", "layer": "G(4)", **shapes, "parameters": 1000 * len(arch), "flops": 5}]
    (home / "meta.json").write_text(json.dumps({"config": config, "starts": [start], "layers": layers}))
    result = {"command": "train", "status": "finished", **figures}
    (home / "result.json").write_text(json.dumps(result))
    measured = {"objective": 0.0, "sigma": 1.0, "learning_rate": 0.1}
    lines = [
        {"step": 10 * n, "epoch": float(n), "layers": {"gmm1": {**measured, "log_likelihood": float(n * n + seed)}}}
        for n in range(1, 5)
    ]
    (home / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return home


def outliers(run: Path, auroc: float, c: float = 1.5) -> None:
    home = run / "outliers" / "a"
    home.mkdir(parents=True)
    (home / "meta.json").write_text(json.dumps({"command": "outliers", "config": {"outliers": {"c": c}}}))
    result = {"command": "outliers", "status": "finished", "auroc": {"top": auroc}}
    (home / "result.json").write_text(json.dumps(result))


def figures(likelihood: float, bits: float) -> dict[str, Any]:
    return {"layers": {"gmm1": {"test_log_likelihood": likelihood}}, "density": {"bits_per_dimension": bits}}


def cells(lines: list[str], name: str) -> list[str]:
    (line,) = (line for line in lines if line.startswith(name))
    return re.split(r" {2,}", line.strip())[1:]


def test_two_runs(tmp_path: Path) -> None:
    first = run_of(tmp_path, "1L", 0, figures(1.0, 7.5))
    second = run_of(tmp_path, "small", 0, figures(3.0, 7.25))
    outliers(first, 0.75)
    outliers(second, 0.875)
    shown = without_torch("compare", f"run={first}", f"run={second}")
    assert cells(section(shown, "Settings that differ"), "arch  ") == ["1L", "small"]
    assert cells(section(shown, "Settings that differ"), "arch.layers") == ["G(25)", "G(4)"]
    assert cells(section(shown, "Models"), "parameters") == ["2,000", "5,000"]
    rows = section(shown, "Figures that differ")
    assert cells(rows, "layers.gmm1") == ["1", "3", "higher"]  # of different architectures: neither is better
    assert cells(rows, "density.bits") == ["7.5", "7.25", "lower", "B"]
    assert cells(section(shown, "dcgmm outliers"), "auroc.top") == ["0.75", "0.875", "higher", "B"]


def test_seeds_together(dcgmm: Runner, tmp_path: Path) -> None:
    for seed in (0, 1):
        run_of(tmp_path / "few", "1L", seed, figures(1.0 + 2 * seed, 7.5), trainer={"epochs": 5})
        run_of(tmp_path / "many", "1L", seed, figures(3.0 + 2 * seed, 7.0 - seed), trainer={"epochs": 50})
    shown = dcgmm("compare", f"run={tmp_path / 'few'}", f"run={tmp_path / 'many'}")
    assert cells(section(shown, "Settings that differ"), "trainer.epochs") == ["5", "50"]
    rows = section(shown, "Figures that differ")
    assert cells(rows, "layers.gmm1") == ["2 ± 1.414", "4 ± 1.414", "higher", "B"]
    assert cells(rows, "density.bits") == ["7.5", "6.5 ± 0.7071", "lower", "B"]
    assert cells(section(shown, "Curves"), "2 ") == ["4.5", "4.5"]  # the mean of both seeds
    for name in ("few", "many"):
        shutil.copytree(tmp_path / name / "1L-mnist", tmp_path / "both" / name)
    both = dcgmm("compare", f"run={tmp_path / 'both'}")  # one directory, two settings
    assert section(both, "Figures that differ") == rows
    alone = dcgmm("compare", f"run={tmp_path}/few/1L-mnist/run-0-1,{tmp_path}/few/1L-mnist/run-1-1")
    assert cells(section(alone, "Settings that differ"), "seed") == ["0", "1"]


def test_what_was_asked_differently_is_not_judged(dcgmm: Runner, tmp_path: Path) -> None:
    first, second = (run_of(tmp_path, "1L", seed, figures(1.0, 7.5)) for seed in (0, 1))
    outliers(first, 0.75)
    outliers(second, 0.875, c=2.0)
    shown = dcgmm("compare", f"run=[{first},{second}]")
    assert cells(section(shown, "dcgmm outliers"), "auroc.top") == ["0.75", "0.875", "higher"]
    assert "asked differently, so that none is better: outliers.c" in shown.out


def test_a_page(installed: Runner, tmp_path: Path, tiny_run: Path) -> None:
    other = run_of(tmp_path / "runs", "1L", 0, figures(1.0, 7.5))
    done = installed("compare", f"run={tiny_run}", f"run={other.name}", "format=html")
    assert (done.code, done.out) == (0, "compare.html\n"), done.err
    text = (tmp_path / "compare.html").read_text()
    assert text.count("<svg viewBox") > 1
    assert 'alt="A: training curves' in text
    assert "trained on different images" in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_page_in_a_browser(dcgmm: Runner, tmp_path: Path, tiny_run: Path) -> None:
    other = run_of(tmp_path / "runs", "1L", 0, figures(1.0, 7.5))
    page = dcgmm("compare", f"run={tiny_run}", f"run={other}", "format=html").directory
    with Browser(tmp_path / "profile") as browser:
        for width in (360, 1280):
            browser.open(page, width)
            assert browser.complaints() == []
            check_for_everybody(browser, width)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("", "2 12 0: run=A"),
        ("run=one", "2 12 1: run=A"),
        ("run=one run=nowhere", "run=nowhere: runs/; latest"),
        ("-m run=one,one", "compare -m: run=A run=B"),
        ("run=one run=one output=x", "output format=html x"),
        ("one", "'one': run=A"),
    ],
)
def test_mistakes(arguments: str, named: str, dcgmm: Runner, tmp_path: Path) -> None:
    (run_of(tmp_path / "runs", "1L", 0, {})).rename(tmp_path / "runs" / "1L-mnist" / "one")
    dcgmm("compare", *arguments.split()).check_refused(*named.split())


def test_more_than_a_table_has_room_for(dcgmm: Runner, tmp_path: Path) -> None:
    runs = [run_of(tmp_path, "1L", seed, {}) for seed in range(13)]
    dcgmm("compare", *(f"run={run}" for run in runs)).check_refused(12, "13:", "`dcgmm results`")
