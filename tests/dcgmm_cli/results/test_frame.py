from pathlib import Path

import pytest

from dcgmm_cli.results.frame import frame
from tests.dcgmm_cli.results.conftest import AUROC


def test_a_frame_of_runs(root: Path) -> None:
    pytest.importorskip("pandas")
    table = frame(str(root), where="arch=1L")
    assert table[table["command"] == "train"].set_index("seed").loc[2, "train_seconds"] == 12.0
    assert len(frame(str(root))) == 4
    assert set(frame(str(root), where="command=outliers")["auroc.top"]) == set(AUROC.values())
