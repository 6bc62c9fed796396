"""Layers for the compiled passes, and what tensors make of them in float64."""

import copy
import shutil

import pytest
import torch
from torch import Tensor

from dcgmm.model import GMM, Folding, Rates, Shape
from dcgmm.model.annealing import ring_distances, smoothing_kernel
from dcgmm.model.native.build import COMPILERS
from tests.conftest import Tolerance, normal, uniform

NEEDS_COMPILER = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler")
LIKE_FLOAT64 = Tolerance(rtol=2e-4, atol=2e-5)

# samples, map (H, W, C), kernel, stride, K: fewer features than lanes and more, no multiple of a vector; one component
# to several panels of them; unequal sides and strides, an uncovered rim; the whole map, dense and not; single positions
CASES = [
    (3, (6, 5, 1), (3, 3), (1, 1), 25),
    (5, (9, 8, 2), (5, 4), (2, 1), 4),
    (4, (11, 10, 1), (7, 7), (2, 3), 49),
    (2, (8, 6, 20), (3, 3), (1, 1), 36),
    (7, (5, 7, 1), (2, 3), (1, 2), 1),
    (50, (4, 8, 2), (4, 8), (1, 1), 121),
    (13, (4, 5, 2), (4, 5), (1, 1), 9),
    (3, (3, 2, 20), (1, 1), (1, 1), 16),
    (1, (1, 1, 3), (1, 1), (1, 1), 64),
]
cases = pytest.mark.parametrize("case", CASES, ids=[f"{case[1]}-{case[2]}-{case[3]}-{case[4]}" for case in CASES])
Case = tuple[int, tuple[int, int, int], tuple[int, int], tuple[int, int], int]


def layers(case: Case, batch_shape: tuple[int, ...] = ()) -> tuple[Folding, GMM, Tensor]:
    """A layer of float32 with parameters that are nowhere special, and images for it."""
    samples, shape, kernel, stride, components = case
    folding = Folding(Shape(*shape), kernel, stride)
    gmm = GMM(folding.output_shape, components, batch_shape=batch_shape)
    with torch.no_grad():
        gmm.logits.copy_(normal(*gmm.logits.shape, seed=1))
        gmm.loc.copy_(uniform(*gmm.loc.shape, seed=2))
        gmm.precision_sqrt.copy_(0.5 + uniform(*gmm.precision_sqrt.shape, seed=3))
    return folding, gmm, uniform(*batch_shape, samples, *shape, seed=4).float()


def kernel_of(components: int, sigma: float | None) -> Tensor | None:
    return None if sigma is None else smoothing_kernel(ring_distances(components), torch.tensor(sigma))


def rates(batch_shape: tuple[int, ...] = ()) -> Rates:
    return Rates(*uniform(4, *batch_shape, seed=5).float())


def in_float64(
    folding: Folding, gmm: GMM, x: Tensor, kernel: Tensor | None, speed: Rates
) -> tuple[GMM, Tensor, Tensor]:
    """What tensors make of the same step."""
    exact = copy.deepcopy(gmm).double()
    patches = folding.patches(x.double())
    value, passed = exact.step(
        patches, None if kernel is None else kernel.double(), Rates(*(rate.double() for rate in speed)), passes_on=True
    )
    assert passed is not None
    return exact, value, passed


def assert_like(gmm: GMM, exact: GMM) -> None:
    for name, parameter in gmm.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), exact.get_parameter(name).detach(), **LIKE_FLOAT64)
