import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, log_loss

from dcgmm.classification import class_figures, expected_calibration_error, reliability
from tests.conftest import normal, uniform
from tests.refusals import option_refused, refused


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_error_is_that_of_numpy(bins: int) -> None:
    confidence = torch.cat([uniform(500), torch.tensor([0.0, 0.25, 0.5, 1.0, 1.0])])
    right = uniform(505, seed=1) < confidence**2
    expected, sure, true = 0.0, confidence.numpy(), right.numpy()
    for low, high in zip(np.arange(bins) / bins, np.arange(1, bins + 1) / bins, strict=True):
        inside = (sure > low) & (sure <= high) | ((sure == 0) & (low == 0))
        if inside.any():
            expected += inside.mean() * abs(true[inside].mean() - sure[inside].mean())
    assert expected_calibration_error(confidence, right, bins) == pytest.approx(expected, abs=1e-12)
    found = reliability(confidence, right, bins)
    assert int(found.count.sum()) == 505
    assert float((found.count * found.accuracy).nansum()) == pytest.approx(float(right.sum()))


def test_what_is_calibrated_has_no_error() -> None:
    confidence = uniform(200_000)
    assert expected_calibration_error(confidence, uniform(200_000, seed=1) < confidence) < 0.01
    assert expected_calibration_error(torch.ones(9), torch.ones(9, dtype=torch.bool)) == 0
    assert expected_calibration_error(torch.ones(9), torch.zeros(9, dtype=torch.bool)) == 1
    with option_refused("bins", 0, 1):
        reliability(confidence, confidence > 0, 0)


def test_figures_are_those_of_scikit_learn() -> None:
    said, index = normal(200, 4).log_softmax(-1), torch.arange(200) % 3  # the last class has no images
    figures = class_figures(said, index)
    assert figures.log_loss == pytest.approx(log_loss(index, said.exp(), labels=range(4)))
    np.testing.assert_array_equal(figures.confusion, confusion_matrix(index, said.argmax(-1), labels=range(4)))
    assert figures.accuracy == pytest.approx(float(figures.confusion.trace()) / 200)
    with refused("one", 0):
        class_figures(said[:0], index[:0])
