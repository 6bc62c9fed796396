from typing import Any

import pytest
import torch

from dcgmm.model import DCGMM
from dcgmm.states import build_model, model_state, model_states


@pytest.mark.parametrize("factors", [0, 2])
def test_models_side_by_side_have_the_states_of_each_alone(factors: int) -> None:
    layers: list[dict[str, Any]] = [
        {"type": "folding", "kernel": [2, 2]},
        {"type": "gmm", "components": 4, "factors": factors},
    ]
    models = [DCGMM.build((3, 3, 1), layers) for _ in range(3)]
    for seed, model in enumerate(models):
        model.draw_start(torch.Generator().manual_seed(seed))
    for state, model in zip(model_states(DCGMM.side_by_side(models)), models, strict=True):
        expected = model_state(model)
        assert {**state, "parameters": None} == {**expected, "parameters": None}
        for name, value in build_model(state).state_dict().items():
            assert torch.equal(value, expected["parameters"][name])
            assert state["parameters"][name].is_contiguous()
