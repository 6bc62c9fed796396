"""Patches against explicit sums over unfolded windows, in float64."""

import itertools

import pytest
import torch

from dcgmm.model import Window
from dcgmm.model.patches import Patches, unfold
from tests.refusals import refused

K = 5
# map (H, W, C), kernel, stride: convolved (much overlap; also unequal strides and an uncovered rim), tiled, whole, 1x1
WINDOWS = [
    ((6, 5, 1), (3, 3), (1, 1)),
    ((9, 7, 3), (4, 4), (1, 1)),
    ((9, 8, 2), (5, 4), (2, 1)),
    ((11, 10, 1), (7, 7), (2, 3)),
    ((8, 6, 20), (3, 3), (1, 1)),
    ((6, 4, 3), (3, 2), (3, 2)),
    ((5, 7, 1), (2, 3), (1, 2)),
    ((4, 5, 2), (4, 5), (1, 1)),
    ((3, 2, 20), (1, 1), (1, 1)),
]
BATCHES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), ()), ((3,), (3,)), ((), (3,))]
windows = pytest.mark.parametrize(
    ("shape", "kernel", "stride"), WINDOWS, ids=[f"{shape}-{kernel}-{stride}" for shape, kernel, stride in WINDOWS]
)
batches = pytest.mark.parametrize(("given", "batch"), BATCHES, ids=["one", "each its own maps", "maps given once"])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@windows
@batches
def test_both_maps_are_sums_over_unfolded_patches(
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    given: tuple[int, ...],
    batch: tuple[int, ...],
) -> None:
    window = Window(kernel, stride)
    x = normal(*given, 6, *shape)
    unfolded = unfold(x, window)
    features = unfolded.shape[-1]
    linear, precision = normal(*batch, K, features, seed=1), normal(*batch, K, features, seed=2)
    constant = normal(*batch, K, seed=3)
    patches = Patches(x, window)
    scores = patches.contract(linear, precision, constant)
    winner = scores.argmax(-1)
    assert winner.unique().numel() > 1
    zeroth, first, second = patches.means(patches.points(winner.unsqueeze(-1)).squeeze(-1), K)
    total = winner[(0,) * len(batch)].numel()
    assert first.shape == second.shape == (*batch, K, features)
    for r in itertools.product(*map(range, batch)):
        points = unfolded[r if given else ()]
        by_hand = torch.einsum("nhwd,kd->nhwk", points, linear[r])
        by_hand = by_hand - 0.5 * torch.einsum("nhwd,kd->nhwk", points.square(), precision[r]) + constant[r]
        torch.testing.assert_close(scores[r], by_hand)
        for k in range(K):
            won = points[winner[r] == k]
            assert float(zeroth[r][k]) == pytest.approx(len(won) / total)
            torch.testing.assert_close(first[r][k], won.sum(0) / total)
            torch.testing.assert_close(second[r][k], won.square().sum(0) / total)


@windows
def test_gradients_reach_what_lies_under_the_patches(
    shape: tuple[int, int, int], kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    window, x = Window(kernel, stride), normal(2, *shape)
    features = kernel[0] * kernel[1] * shape[2]
    weights = [normal(K, features, seed=1), normal(K, features, seed=2), normal(K, seed=3)]

    def through_patches(x: torch.Tensor) -> torch.Tensor:
        return Patches(x, window).contract(*weights).square().sum()

    def by_hand(x: torch.Tensor) -> torch.Tensor:
        points = unfold(x, window)
        return (points @ weights[0].mT - 0.5 * points.square() @ weights[1].mT + weights[2]).square().sum()

    expected = torch.func.grad(by_hand)(x)
    torch.testing.assert_close(torch.func.grad(through_patches)(x), expected)
    patches = Patches(x, window)
    torch.testing.assert_close(patches.pull(2 * patches.contract(*weights), *weights[:2]), expected)


def test_window_that_does_not_fit() -> None:
    with refused("3x4"):
        Patches(normal(1, 3, 4, 1), Window((4, 4), (1, 1)))
