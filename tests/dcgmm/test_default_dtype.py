"""Torch's default number type is the program's: the same bits come out of the library whatever it is."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

import dcgmm
from dcgmm.datasets.sample.cut import balanced_order
from dcgmm.generation import observed_part
from dcgmm.generation.classifier import _start
from dcgmm.model import LayerOptions
from dcgmm.model.annealing import ring_distances
from dcgmm.outliers.localisation import nearest_positions
from dcgmm.states import build_model, model_state
from dcgmm.training import TrainerOptions
from dcgmm.training.layer import LayerTraining
from tests.conftest import uniform

LAYERS: list[LayerOptions | Mapping[str, Any]] = [
    {"type": "folding", "kernel": [3, 3], "stride": [2, 2]},
    {"type": "gmm", "components": 4, "factors": 2},
    {"type": "pooling", "kernel": [2, 2]},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4},
]


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def other(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    yield request.param
    torch.set_default_dtype(torch.float32)


def everything() -> dict[str, torch.Tensor]:
    """A little of all that the library computes."""
    images = uniform(60, 9, 9, 1).float()
    model = dcgmm.DCGMM.build((9, 9, 1), LAYERS)
    dcgmm.fit(model, images, epochs=14, batch_size=10, annealing={"alpha": 0.5, "sigma_end": 0.5}, factor_epochs=1.0)
    assert model.gmms["gmm1"].has_factors
    seen = observed_part("random", 9, 9, 5, seed=1)
    found = {"seen": seen, **model.state_dict(), **build_model(model_state(model)).state_dict(prefix="again.")}
    found |= {f"detector.{name}": each for name, each in dcgmm.Detector.fit(model, images).scores(images).items()}
    found["sample"] = dcgmm.sample(model, 5, top_s=2, seed=0).images
    found["sharpen"] = dcgmm.sharpen(model, images[:5], iterations=2).signal
    found["inpaint"] = dcgmm.inpaint(model, images[:5], seen, count=2).draws
    found["log_prob"] = model.log_prob(images)
    found["partly"] = model.log_prob(images[:5], observed=seen)
    found["rows"] = nearest_positions(model, "gmm2")[0]
    found["cut"] = balanced_order(torch.arange(40) % 2, 20, 2, torch.Generator().manual_seed(0))
    found["judge"] = _start((3, 3), torch.Generator().manual_seed(0))
    found["kernel"] = LayerTraining(model.gmms["gmm2"], TrainerOptions(), 1, list)._kernel
    found["distances"] = ring_distances(9)
    return found


def test_the_default_number_type_changes_no_bit(other: torch.dtype) -> None:
    expected = everything()
    torch.set_default_dtype(other)
    found = everything()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name
