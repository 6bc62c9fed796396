import io
import logging

import pytest
from rich.console import Console

from dcgmm_cli import progress
from dcgmm_cli.progress import ProgressBar


@pytest.mark.parametrize(("width", "rate"), [(80, False), (120, True)])
def test_a_bar_fits_the_terminal(width: int, rate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True, force_interactive=True, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with ProgressBar("train", 1000, "steps") as bar:
        bar.update(450, "all of it", "epoch 112.5 of 250  gmm3 1234.5 nats, sigma 0.012")
        assert bar._bar is not None
        bar._bar.refresh()
    (line, *_) = (line for line in text.getvalue().split("\r") if "45%" in line)
    assert "epoch 112.5 of 250  gmm3 1234.5 nats, sigma 0.012" in line
    assert "all of it" not in text.getvalue()
    assert "━━━━" in line
    assert ("steps/s" in text.getvalue()) <= rate


def test_plain_lines_say_how_far_and_how_long(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with ProgressBar("train", 200, "steps", every=0.0) as bar:
        bar.update(50, "in full", "in short")
        bar.update(200)
    first, last = caplog.messages
    assert first.startswith("train: 50 of 200 steps (25%), ")
    assert first.endswith(" s left. in full")
    assert ", 0 s left. " in last
