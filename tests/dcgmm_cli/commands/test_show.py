import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dcgmm.files import read_json
from tests.browser import CHROMIUM, Browser
from tests.dcgmm_cli.commands.conftest import Outcome, Runner
from tests.dcgmm_cli.reports.test_page import check_for_everybody


def section(shown: Outcome, title: str) -> list[str]:
    """Lines of a section."""
    assert shown.code == 0, shown.err
    return shown.out.split(f"\n{title}\n")[1].split("\n\n")[0].splitlines()


def without_torch(*arguments: str) -> Outcome:
    """A command line in a process of its own, which fails where torch, NumPy or Matplotlib was imported."""
    code = (
        "import sys; from dcgmm_cli import main; code = main.run(sys.argv[1:]); "
        "slow = sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)); sys.exit(str(slow) if slow else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_what_a_run_was(dcgmm: Runner, tiny_run: Path) -> None:
    sampled = dcgmm("sample", f"run={tiny_run}", "sampling.count=4", "quality.count=0", "seed=5")
    assert sampled.code == 0, sampled.err
    shown = without_torch("show", f"run={tiny_run}")
    assert shown.code == 0, shown.err
    meta, result = read_json(tiny_run / "meta.json"), read_json(tiny_run / "result.json")
    rows = {line.split()[0]: line.split() for line in section(shown, "Layers")}
    assert rows["gmm1"] == ["gmm1", "G(4)", "4x4x49", "4x4x4", "16", "396", f"{4 * 16 * 4 * 49:,}"]
    assert rows["all"][1] == f"{sum(layer['parameters'] for layer in meta['layers']):,}"
    assert "trainer.epochs           2" in section(shown, "Settings that differ from the defaults")
    assert "images    300 training, 300 test" in section(shown, "Data")
    assert ["3", "3", "30", "30"] in [line.split() for line in shown.out.splitlines()]
    assert f"{result['layers']['gmm2']['test_log_likelihood']:.4g}" in shown.out
    assert any(line.startswith("sample ") and "finished" in line for line in shown.out.splitlines())
    line = section(shown, "To repeat it")[0]
    assert shlex.split(line)[:2] == ["dcgmm", "train"]
    assert "dataset.limit=300" in line
    assert "checkpoints/last.pt" in shown.out
    shown = dcgmm("show", f"run={sampled.out.splitlines()[-1]}")
    settings = [line.split() for line in section(shown, "Settings that differ from the defaults")]
    assert ["seed", "5"] in settings
    assert ["sampling.count", "4"] in settings


def test_a_page_of_a_run(installed: Runner, dcgmm: Runner, tiny_run: Path, tmp_path: Path) -> None:
    written = installed("show", f"run={tiny_run}", "format=html")
    assert written.code == 0, written.err
    assert written.out == f"{tiny_run / 'show.html'}\n"
    text = (tiny_run / "show.html").read_text()
    assert text.count("data:image/png;base64,") >= len(list((tiny_run / "figures").iterdir()))
    for path in ("result.json", "checkpoints/last.pt", ".hydra/config.yaml"):
        assert f'href="{path}"' in text
    assert len(text) < 3_000_000
    assert dcgmm("show", f"run={tiny_run}", "format=html", "output=pages/run.html").out == "pages/run.html\n"
    assert (tmp_path / "pages" / "run.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_page_of_a_run_in_a_browser(dcgmm: Runner, tiny_run: Path, tmp_path: Path) -> None:
    assert dcgmm("sample", f"run={tiny_run}", "sampling.count=4", "quality.count=0").code == 0
    page = dcgmm("show", f"run={tiny_run}", "format=html", "output=page.html").directory
    with Browser(tmp_path / "profile") as browser:
        for width in (360, 1280):
            browser.open(page, width)
            assert browser.complaints() == []
            check_for_everybody(browser, width)


def test_runs_that_are_not_whole(dcgmm: Runner, tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "runs" / "custom-mnist" / "broken"))
    meta = read_json(run / "meta.json")
    for key in ("layers", "data"):  # as an earlier version left it
        del meta[key]
    (run / "meta.json").write_text(json.dumps(meta))
    shown = dcgmm("show", "run=broken")
    assert section(shown, "Layers")[0].startswith("F(7,7,7,7) G(4) P(2,2)")
    assert "images    300 training, 300 test" in section(shown, "Data")
    (run / "result.json").unlink()
    assert "status     killed" in section(dcgmm("show", "run=broken"), "Run")
    (run / "result.json").write_text("{")
    (run / "meta.json").write_text("[]")
    assert "status     damaged" in section(dcgmm("show", "run=broken"), "Run")


def test_models_side_by_side(dcgmm: Runner, tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "runs" / "custom-mnist" / "two"))
    for seed, likelihood in ((0, 1.0), (1, 3.0)):
        home = run / "replicas" / f"seed-{seed}"
        home.mkdir(parents=True)
        shutil.copy(run / "meta.json", home / "meta.json")
        layers = {"gmm1": {"test_log_likelihood": likelihood}}
        result = {"command": "train", "status": "finished", "layers": layers}
        (home / "result.json").write_text(json.dumps(result))
    shown = dcgmm("show", f"run={run}")
    assert shown.code == 0, shown.err
    assert "2 ± 1.414" in shown.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("run=nowhere", "run=nowhere: runs/; latest"),
        ("format=pdf", "format=pdf: table html"),
        ("latest", "'latest': run=latest"),
        ("-m run=a,b", "show -m: run=A run=B"),
        ("output=x.html", "output format=html x.html"),
    ],
)
def test_mistakes(arguments: str, named: str, dcgmm: Runner, tmp_path: Path) -> None:
    dcgmm("show", *arguments.split()).check_refused(*named.split())
    assert not list(tmp_path.iterdir())
