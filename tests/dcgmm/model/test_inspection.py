import pytest

from dcgmm.model.inspection import mean_log_likelihoods
from tests.conftest import normal
from tests.dcgmm.small import small_model


def test_draws_that_leave_the_range_of_pixels_have_a_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    draws = normal(10, 9, 7, 2)
    expected = {name: float(scored.log_prob.detach().mean()) for name, scored in model.score_floats(draws).items()}
    monkeypatch.setattr("dcgmm.model.stack.BATCH_SIZE", 3)
    assert mean_log_likelihoods(model, draws) == pytest.approx(expected, rel=1e-11)
