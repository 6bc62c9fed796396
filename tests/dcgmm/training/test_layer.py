"""What the log says of layers that a GPU trains without fused passes."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dcgmm.model import fused
from dcgmm.training.layer import tell_what_is_slower


def on_gpu(components: int, dtype: torch.dtype = torch.float32) -> Any:
    """Stands for a layer on a GPU."""
    return SimpleNamespace(components=components, loc=SimpleNamespace(is_cuda=True, device="gpu", dtype=dtype))


@pytest.mark.parametrize(
    ("layer", "alone", "why"),
    [
        (on_gpu(64), True, None),
        (on_gpu(81), True, "steps of at most 64 components fit this GPU"),
        (on_gpu(4, torch.float64), True, "the model is in float64"),
        (on_gpu(4), False, "several processes do it"),
    ],
)
def test_the_log_names_layers_without_fused_passes(
    layer: Any, alone: bool, why: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused, "available", lambda device: True)
    monkeypatch.setattr(fused, "most_components", lambda device: 64)
    with caplog.at_level(logging.INFO):
        tell_what_is_slower({"gmm1": layer}, alone)
    told = [f"gmm1 is trained without fused passes, which is slower: {why}"] if why else []
    assert [record.getMessage() for record in caplog.records] == told
