from typing import Any

import numpy as np
import pytest
import torch

from dcgmm.model import DCGMM
from dcgmm.outliers.moments import Moments, log_likelihood_moments


def test_moments_are_numpys_whatever_the_batches() -> None:
    values = 1e6 + torch.randn(17, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = Moments.of(values)
    np.testing.assert_allclose(whole.mean, np.mean(values.numpy(), 0), rtol=1e-15)
    np.testing.assert_allclose(whole.variance, np.var(values.numpy(), 0), rtol=1e-9)
    parts = [Moments.of(part) for part in (values[:1], values[1:6], values[6:])]
    for merged in (parts[0].merge(parts[1]).merge(parts[2]), parts[2].merge(parts[0].merge(parts[1]))):
        assert merged.count == 17
        torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-14, atol=0)
        torch.testing.assert_close(merged.variance, whole.variance, rtol=1e-8, atol=0)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_log_likelihood_moments_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    layers: list[dict[str, Any]] = [{"type": "folding", "kernel": [2, 2]}, {"type": "gmm", "components": 4}]
    model = DCGMM.build((3, 4, 1), layers).double()
    model.draw_start(torch.Generator().manual_seed(0))
    images = torch.randint(0, 256, (20, 3, 4, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    moments = log_likelihood_moments(model, images, batch_size)["gmm1"]
    expected = model.score(images / torch.tensor(255, dtype=torch.float64))["gmm1"].log_prob.detach()
    torch.testing.assert_close(moments.mean, expected.mean(0))
    torch.testing.assert_close(moments.variance, expected.var(0, correction=0))


def test_moments_of_a_single_sample() -> None:
    value = torch.tensor([[[3.0, -1.0]]])
    alone = Moments.of(value)
    assert alone.mean.dtype is torch.float64
    assert torch.equal(alone.mean, value[0].double())
    assert torch.equal(alone.variance, torch.zeros(1, 2, dtype=torch.float64))
    both = alone.merge(Moments.of(value + 2))
    assert both.count == 2
    assert both.mean.tolist() == [[4, 0]]
    assert both.variance.tolist() == [[1, 1]]


def test_merging_gives_new_moments_and_keeps_its_parts() -> None:
    one, other = (Moments.of(torch.full((3, 1, 1), value)) for value in (1.0, 5.0))
    merged = one.merge(other)
    assert (float(merged.mean), float(merged.variance)) == (3, 4)
    assert (float(one.mean), float(other.mean), one.count, other.count) == (1, 5, 3, 3)
