"""Examples that no other test runs."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_looking_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "inside.png"
    monkeypatch.setattr(sys, "argv", ["", "--limit", "200", "--epochs", "2", "--image", "3", "--output", str(written)])
    runpy.run_path(str(EXAMPLES / "looking_inside.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == str(written)
    assert written.read_bytes().startswith(b"\x89PNG")
