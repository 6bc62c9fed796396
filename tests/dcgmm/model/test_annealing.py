import math

import pytest
import torch

from dcgmm.errors import OptionError
from dcgmm.model.annealing import AnnealingRule, grid_side, ring_distances, smoothing_kernel
from dcgmm.model.gaussian import smoothed

RULE = AnnealingRule(window=50, sigma_end=0.01, rate_start=0.05, rate_end=0.01, delta=0.05, gamma=0.9)


@pytest.mark.parametrize("components", [-4, 0, 2, 24, 26])
def test_components_must_be_square(components: int) -> None:
    with pytest.raises(OptionError) as error:
        grid_side(components)
    assert (error.value.field, error.value.value) == ("components", components)


def test_distances_on_the_torus_by_hand() -> None:
    distances = ring_distances(25)
    assert distances[0].tolist() == [0, 1, 4, 4, 1]  # around the torus
    assert torch.equal(distances, distances.T)


def test_kernel_rows_by_hand_and_at_the_ends() -> None:
    sigma = torch.tensor([0.01, 1.0, 1e4], dtype=torch.float64)
    side = smoothing_kernel(ring_distances(4), sigma)
    kernel = torch.stack([torch.kron(each, each) for each in side])  # of the four components
    torch.testing.assert_close(kernel.sum(-1), torch.ones(3, 4, dtype=torch.float64))
    assert torch.equal(kernel[0], torch.eye(4, dtype=torch.float64))
    weights = torch.tensor([1, math.exp(-0.5), math.exp(-0.5), math.exp(-1)], dtype=torch.float64)
    torch.testing.assert_close(kernel[1, 0], weights / weights.sum())
    torch.testing.assert_close(kernel[2], torch.full((4, 4), 0.25, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("components", [1, 4, 9, 16])
def test_smoothing_is_by_distances_on_the_whole_torus(components: int) -> None:
    side = math.isqrt(components)
    places = [divmod(k, side) for k in range(components)]

    def gap(a: int, b: int) -> int:
        return min(abs(a - b), side - abs(a - b))

    dense = torch.tensor([[math.exp(-(gap(a, c) ** 2 + gap(b, d) ** 2) / 2) for c, d in places] for a, b in places])
    dense = dense.double() / dense.double().sum(-1, keepdim=True)
    kernel = smoothing_kernel(ring_distances(components), torch.tensor(1.0, dtype=torch.float64))
    rows = torch.randn(components, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(smoothed(rows, kernel), dense @ rows, rtol=1e-6, atol=1e-7)


def test_rule_against_a_hand_written_trace() -> None:
    state = RULE.start(25, (), torch.float64)
    sigma, rate = 0.25 * math.sqrt(50), 0.05
    assert float(state.sigma) == pytest.approx(sigma)
    assert float(state.rate) == rate
    # average, whether sigma and rate shrink: L_0 = 0, then L_last = 10, and r = (L - L_last) / (L_last - L_0).
    trace = [
        (0.0, False),  # records L_0
        (10.0, False),  # records L_last
        (10.49, True),  # r = 0.049
        (11.1, False),  # r = 0.61 / 10.49 = 0.058: still rising
        (10.0, True),  # r = -1.1 / 11.1 = -0.0991
        (8.9, False),  # r = -0.11: fell too far
        (0.0, False),  # r = -1; L_last = L_0 from here on
        (0.0, True),  # nothing moves at all
        (1.0, False),  # rises from a standstill
    ]
    for average, shrinks in trace:
        state = RULE.advance(state, torch.tensor(average, dtype=torch.float64))
        if shrinks:
            sigma, rate = sigma * 0.9, max(rate * 0.9, 0.01)
        assert float(state.sigma) == pytest.approx(sigma)
        assert float(state.rate) == pytest.approx(rate)
    assert state.windows == len(trace)


def test_falling_below_the_start_turns_the_sign_of_r() -> None:
    state = RULE.start(25, (), torch.float64)
    for average in (10.0, 0.0):
        state = RULE.advance(state, torch.tensor(average, dtype=torch.float64))
    before = float(state.sigma)
    rising = RULE.advance(state, torch.tensor(0.9, dtype=torch.float64))  # r = 0.9 / -10 = -0.09 > -2 delta
    assert float(rising.sigma) == pytest.approx(0.9 * before)
    falling = RULE.advance(state, torch.tensor(-0.9, dtype=torch.float64))  # r = 0.09 > delta
    assert float(falling.sigma) == before


def test_floors_and_models_side_by_side() -> None:
    state = RULE.start(25, (2,), torch.float64)
    averages = torch.tensor([0.0, 0.0], dtype=torch.float64), torch.tensor([1.0, 1.0], dtype=torch.float64)
    for average in averages:
        state = RULE.advance(state, average)
    for step in range(60):
        state = RULE.advance(state, torch.tensor([1.0, 2.0**step * 100], dtype=torch.float64))
    assert state.sigma[0] == 0.01
    assert state.rate[0] == 0.01
    assert float(state.sigma[1]) == pytest.approx(0.25 * math.sqrt(50))


def test_minimal_steps_is_when_an_objective_at_rest_reaches_the_floor() -> None:
    for components in (4, 25, 49):
        state, steps = RULE.start(components, (), torch.float64), 0
        while float(state.sigma) > RULE.sigma_end:
            state = RULE.advance(state, torch.tensor(min(steps, 1.0), dtype=torch.float64))
            steps += RULE.window
        assert RULE.minimal_steps(components) == steps
    hundred = AnnealingRule(100, 0.01, 0.05, 0.01, 0.05, 0.9)
    assert hundred.minimal_steps(25) == pytest.approx(5200, abs=100)
