import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

import dcgmm
from dcgmm.density import density, why_no_density
from dcgmm.errors import InputError
from dcgmm.model import DCGMM

Layers = list[dict[str, object]]


def folding(*kernel: int, stride: tuple[int, int] = (1, 1)) -> dict[str, object]:
    return {"type": "folding", "kernel": kernel, "stride": stride}


def gmm(components: int, **more: int | bool) -> dict[str, object]:
    return {"type": "gmm", "components": components, **more}


def model_of(shape: tuple[int, int, int], layers: Layers, seed: int = 0) -> DCGMM:
    generator = torch.Generator().manual_seed(seed)
    model = DCGMM.build(shape, layers).double()
    with torch.no_grad():
        for layer in model.gmms.values():
            layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator))
            layer.loc.copy_(torch.rand(layer.loc.shape, generator=generator))
            layer.precision_sqrt.copy_(4 + 8 * torch.rand(layer.loc.shape, generator=generator))
    return model


WHOLE = [folding(1, 2), gmm(4)]
TILES = [folding(1, 1), gmm(4)]
STACK = [folding(1, 1), gmm(4), folding(1, 2), gmm(9)]


OWN = [folding(1, 1), gmm(4, shared=False), folding(1, 2), gmm(9, shared=False)]  # parameters for each position
CASES = {"whole": WHOLE, "tiles": TILES, "pixels": TILES[1:], "stack": STACK, "own tiles": OWN[:2], "own": OWN}


@pytest.mark.parametrize("layers", CASES.values(), ids=CASES)
def test_it_integrates_to_one(layers: Layers) -> None:
    model, step = model_of((1, 2, 1), layers), 0.02
    axis = torch.arange(-2, 3, step, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).view(-1, 1, 2, 1)
    # Outside [0, 1] there are no images, but there is density.
    from dcgmm.density import _log_density

    total = float(_log_density(model, grid).detach().exp().sum()) * step**2
    assert total == pytest.approx(1, abs=1e-6)


def written_out(model: DCGMM, x: Tensor) -> float:
    """log sum_k pi_k prod_p sum_j theta_kpj N_j(x_p), a term at a time."""
    lower, top = model.gmms.values()
    overall = None
    theta = top.flat(top.loc).detach().view(top.components, -1, lower.components).clamp(min=0)
    theta = theta / theta.sum(-1, keepdim=True)
    weights = top.flat(top.log_weights).detach().exp()
    overall = (weights[:, None, None] * theta).sum(0).mean(0)
    theta = 0.99 * theta + 0.01 * overall
    loc, scale = (each.detach().view(-1, lower.components, 1) for each in (lower.loc, 1 / lower.precision_sqrt))
    normal = torch.distributions.Normal(loc.expand(2, -1, -1), scale.expand(2, -1, -1))  # at each position
    total = 0.0
    for k, weight in enumerate(weights.tolist()):
        product = 1.0
        for p, value in enumerate(x.flatten()):
            product *= float((theta[k, p] * normal.log_prob(value)[p].sum(-1).exp()).sum())
        total += weight * product
    return math.log(total)


@pytest.mark.parametrize("layers", [STACK, OWN])
def test_a_stack_is_the_sum_written_out(layers: Layers) -> None:
    model = model_of((1, 2, 1), layers)
    images = torch.rand(5, 1, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = [written_out(model, image) for image in images]
    assert density(model, images).nats.tolist() == pytest.approx(expected)


def test_a_flat_model_is_scikit_learns_mixture() -> None:
    model = model_of((2, 3, 1), [folding(2, 3), gmm(4)])
    flat = model.gmms["gmm1"]
    peer = GaussianMixture(4, covariance_type="diag")
    peer.weights_ = flat.log_weights.detach().exp().numpy()
    peer.means_ = flat.loc.detach().numpy()
    peer.precisions_cholesky_ = flat.precision_sqrt.detach().numpy()
    images = np.random.default_rng(0).random((7, 2, 3))
    found = density(model, images)
    np.testing.assert_allclose(found.nats, peer.score_samples(images.reshape(7, 6)))
    # Of byte values: the probability of a cell of width 1/255.
    np.testing.assert_allclose(2.0 ** (-6 * found.bits_per_dimension), found.nats.exp() / 255**6)


@pytest.mark.parametrize(
    ("shape", "layers", "exponent", "words"),
    [
        ((4, 4, 1), [folding(4, 4), gmm(4)], 0.5, "exponent"),
        ((4, 4, 1), [folding(2, 2), gmm(4)], 1.0, "tile"),
        ((5, 4, 1), [folding(2, 2, stride=(2, 2)), gmm(4)], 1.0, "tile"),
        ((4, 4, 1), [folding(2, 2, stride=(2, 2)), gmm(4), folding(1, 2), gmm(4)], 1.0, "responsibilities"),
        ((4, 4, 1), [folding(4, 4), gmm(4), folding(1, 1), gmm(4), folding(1, 1), gmm(4)], 1.0, "responsibilities"),
    ],
)
def test_what_is_no_density_says_why(shape: tuple[int, int, int], layers: Layers, exponent: float, words: str) -> None:
    architecture = dcgmm.Architecture(layers, exponent=exponent)  # type: ignore[arg-type]
    model = DCGMM.build(shape, architecture)
    assert words in str(why_no_density(model))
    with pytest.raises(InputError, match="not a density of the image"):
        density(model, torch.zeros(1, *shape))


def test_the_papers_architectures() -> None:
    proper = [
        name
        for name in ("1L", "2L-a", "2L-b", "2L-c", "2L-d", "3L-a", "3L-b")
        if why_no_density(DCGMM.build((28, 28, 1), dcgmm.arch(name))) is None
    ]
    assert proper == ["1L", "2L-b", "2L-d"]
