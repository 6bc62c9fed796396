import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from dcgmm.generation.classifier import Judge, examples_of, train_judge
from dcgmm.generation.frechet import FeatureReference, Moments, frechet_distance
from tests.conftest import normal, uniform
from tests.refusals import refused


def gaussian(mean: list[float], variances: list[float], rotation: Tensor | None = None) -> Moments:
    covariance = torch.tensor(variances, dtype=torch.float64).diag()
    if rotation is not None:
        covariance = rotation @ covariance @ rotation.mT
    return Moments(torch.tensor(mean, dtype=torch.float64), covariance)


def rotation(size: int, seed: int = 0) -> Tensor:
    turned: Tensor = torch.linalg.qr(normal(size, size, seed=seed)).Q
    return turned


def test_the_distance_of_gaussians_with_the_same_axes() -> None:
    # |m1 - m2|^2 + sum of (std1 - std2)^2 = (9 + 16 + 0) + (1 + 4 + 0).
    for turn in (None, rotation(3)):
        first = gaussian([0, 0, 1], [1, 9, 4], turn)
        second = gaussian([3, -4, 1], [4, 1, 4], turn)
        assert frechet_distance(first, second) == pytest.approx(30)


def test_the_distance_of_any_gaussians_by_scipys_root() -> None:
    first = gaussian([1, 2, 3, 4], [1, 0.2, 3, 5], rotation(4, 1))
    second = gaussian([0, 2, 5, 4], [2, 2, 0.1, 4], rotation(4, 2))
    root = sqrtm(first.covariance.numpy() @ second.covariance.numpy()).real
    spread = float(first.covariance.trace() + second.covariance.trace()) - 2 * root.trace()
    assert frechet_distance(first, second) == pytest.approx(5 + spread)
    assert frechet_distance(second, first) == pytest.approx(5 + spread)


def test_moments_are_torchs() -> None:
    x = normal(20, 3).float()
    moments = Moments.of(x)
    torch.testing.assert_close(moments.mean, x.double().mean(0))
    torch.testing.assert_close(moments.covariance, x.double().T.cov())


@pytest.mark.parametrize("count", [2, 5, 400])
def test_sets_alike_have_no_distance_and_a_shift_adds_its_square(count: int) -> None:
    x = normal(count, 6)  # fewer rows than features too: such covariances have no full rank
    own = Moments.of(x)
    assert frechet_distance(own, own) == pytest.approx(0, abs=1e-9)
    shifts = [frechet_distance(own, Moments.of(x + step * torch.ones(6))) for step in (0.5, 1.0, 2.0)]
    assert shifts == pytest.approx([6 * 0.25, 6, 24])
    other = Moments.of(normal(3, 6, seed=1))
    assert frechet_distance(own, other) == pytest.approx(frechet_distance(other, own))
    assert frechet_distance(own, other) > 0


def test_the_distance_falls_with_the_number_of_images() -> None:
    reference = Moments.of(normal(20_000, 8))
    distances = [frechet_distance(Moments.of(normal(count, 8, seed=1)), reference) for count in (20, 200, 2000)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.05


def test_refusals() -> None:
    with refused("distance", 2, 1):
        Moments.of(normal(1, 3))
    with refused("NaN", "finite"):
        Moments.of(torch.tensor([[1.0], [float("nan")]]))


@pytest.fixture(scope="module")
def judge() -> Judge:
    images = uniform(120, 8, 9, 1).float()
    return train_judge(examples_of(images, torch.arange(120) % 2))


def test_a_reference_leaves_out_what_stands_for_a_perfect_model(judge: Judge) -> None:
    held_out = uniform(300, 8, 9, 1, seed=1).float()
    reference = FeatureReference.of(judge, held_out, 100)
    assert (reference.count, reference.size) == (100, 200)
    floor = reference.distance(held_out)  # the first 100, which are none of the reference
    fresh = reference.distance(uniform(500, 8, 9, 1, seed=2).float())
    assert floor == reference.distance(held_out[:100])
    assert 0 < floor < 2 * fresh
    assert reference.distance(held_out * 0.5) > 5 * max(floor, fresh)
    few = FeatureReference.of(judge, held_out[:11], 100)
    assert (few.count, few.size) == (5, 6)
    with refused(4, 2, 3, 100):
        FeatureReference.of(judge, held_out[:3], 100)
