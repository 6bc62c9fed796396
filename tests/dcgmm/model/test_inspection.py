import pytest
import torch

from dcgmm.model.inspection import component_use, mean_log_likelihoods
from tests.conftest import normal
from tests.dcgmm.small import small_images, small_model


def test_use_counts_winners_over_positions_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = small_model(), small_images(7)
    winners = model.score(images)["gmm1"].component_scores.argmax(-1)
    expected = torch.bincount(winners.flatten(), minlength=4).double() / winners.numel()
    assert torch.equal(component_use(model, images)["gmm1"], expected)
    monkeypatch.setattr("dcgmm.model.stack.BATCH_SIZE", 3)
    assert torch.equal(component_use(model, images.numpy())["gmm1"], expected)
    assert float(component_use(model, images)["gmm2"].sum()) == pytest.approx(1)


def test_draws_that_leave_the_range_of_pixels_have_a_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    draws = normal(10, 9, 7, 2)
    expected = {name: float(scored.log_prob.detach().mean()) for name, scored in model.score_floats(draws).items()}
    monkeypatch.setattr("dcgmm.model.stack.BATCH_SIZE", 3)
    assert mean_log_likelihoods(model, draws) == pytest.approx(expected, rel=1e-11)
