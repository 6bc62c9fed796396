import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from dcgmm.errors import OptionError
from dcgmm.model import DCGMM, LayerOptions, LayerType, Pooling
from tests.conftest import ROUNDING
from tests.dcgmm.small import SHAPE, give_factors, small_images, small_model


def masks(count: int, seed: int = 3) -> Tensor:  # (N, H, W)
    return torch.rand(count, *SHAPE[:2], generator=torch.Generator().manual_seed(seed)) < 0.6


def test_all_seen_is_the_score_of_images() -> None:
    model, images = small_model(), small_images(6)
    whole, seen = model.score(images), model.score(images, torch.ones(SHAPE[:2], dtype=torch.bool))
    for name, scored in whole.items():
        torch.testing.assert_close(seen[name].component_scores, scored.component_scores, **ROUNDING)


def test_nothing_seen_leaves_the_weights() -> None:
    model, images = small_model(), small_images(4)
    for name, scored in model.score(images, torch.zeros(SHAPE[:2])).items():
        expected = model.gmms[name].log_weights.expand_as(scored.component_scores)
        torch.testing.assert_close(scored.component_scores, expected, **ROUNDING)


def test_what_was_not_seen_does_not_matter() -> None:
    model, images, mask = small_model(), small_images(5).double() / 255, masks(5)
    hidden = torch.where(mask[..., None], images, torch.nan)
    for observed in (mask, mask.numpy()):
        expected, found = model.score(images, observed), model.score(hidden, observed)
        for name, scored in expected.items():
            assert torch.equal(scored.component_scores, found[name].component_scores)


def test_the_lowest_layer_is_exact() -> None:
    model, images, mask = small_model(), small_images(3).double() / 255, masks(3)
    gmm, window = model.gmms["gmm1"], model.foldings["folding1"].window
    scores = model.score(images, mask)["gmm1"].component_scores
    (kh, kw), (sh, sw) = window.kernel, window.stride
    for n, row, column in itertools.product(range(3), range(scores.shape[1]), range(scores.shape[2])):
        rows, columns = slice(row * sh, row * sh + kh), slice(column * sw, column * sw + kw)
        x = images[n, rows, columns].flatten()
        seen = mask[n, rows, columns, None].expand(kh, kw, SHAPE[2]).flatten()
        expected = gmm.log_weights + Normal(gmm.loc, 1 / gmm.precision_sqrt).log_prob(x)[:, seen].sum(-1)
        torch.testing.assert_close(scores[n, row, column], expected, **ROUNDING)


def test_a_marginal_is_the_integral_of_the_density() -> None:
    layers = [LayerOptions(LayerType.folding, kernel=[1, 2]), LayerOptions(LayerType.gmm, components=4)]
    model = DCGMM.build((1, 2, 1), layers).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        gmm = model.gmms["gmm1"]
        gmm.logits.copy_(torch.randn(4, generator=generator))
        gmm.loc.copy_(torch.rand(4, 2, generator=generator))
        gmm.precision_sqrt.copy_(4 + 6 * torch.rand(4, 2, generator=generator))
    axis = torch.arange(-3, 4, 0.005, dtype=torch.float64)
    grid = torch.stack([torch.full_like(axis, 0.3), axis], -1).view(-1, 1, 2, 1)
    integral = float(model.score_floats(grid)["gmm1"].log_prob.detach().exp().sum() * 0.005)
    image = torch.tensor([0.3, torch.nan], dtype=torch.float64).view(1, 1, 2)
    found = float(model.log_prob(image, torch.tensor([[True, False]])).exp())
    assert found == pytest.approx(integral, rel=1e-9)


def test_upper_layers_weigh_positions_by_the_share_that_was_seen() -> None:
    model, images, mask = small_model(), small_images(2), masks(2)
    scored = model.score(images, mask)
    names = list(model.named_layers)
    folding1, folding2, pooling = model.foldings["folding1"], model.foldings["folding2"], model.named_layers["pooling1"]
    assert isinstance(pooling, Pooling)
    share = folding1(mask[..., None].double().expand(-1, -1, -1, SHAPE[2])).mean(-1, keepdim=True)
    kernel, stride = pooling.window.kernel, pooling.window.stride
    maps = torch.nn.functional.avg_pool2d(
        share.movedim(-1, 1), kernel, stride, ceil_mode=True, count_include_pad=False
    ).movedim(1, -1)
    weights = folding2(maps.expand(-1, -1, -1, 4))
    x = folding2(pooling(scored["gmm1"].responsibilities))
    top = model.gmms["gmm2"]
    terms = Normal(top.loc, 1 / top.precision_sqrt).log_prob(x.unsqueeze(-2)) * weights.unsqueeze(-2)
    torch.testing.assert_close(scored["gmm2"].component_scores, top.log_weights + terms.sum(-1), **ROUNDING)
    assert names[-1] == "gmm2"


def test_factor_layers_by_their_marginals() -> None:
    layers = [
        LayerOptions(LayerType.folding, kernel=[3, 2], stride=[2, 1]),
        LayerOptions(LayerType.gmm, components=4, factors=2),
    ]
    model = DCGMM.build(SHAPE, layers).double()
    give_factors(model)
    images, mask = small_images(3).double() / 255, masks(3)
    gmm, folding = model.gmms["gmm1"], model.foldings["folding1"]
    scores = model.score(images, mask)["gmm1"].component_scores
    x = folding(images).flatten(0, -2)
    seen = folding(mask[..., None].expand(-1, -1, -1, SHAPE[2]).double()).flatten(0, -2) > 0
    precision = torch.diag_embed(gmm.precision_sqrt**2) - gmm.factors @ gmm.factors.mT  # type: ignore[operator]
    covariance = precision.detach().inverse()
    for point, o, found in zip(x, seen, scores.flatten(0, -2), strict=True):
        for k in range(4):
            expected = gmm.log_weights[k].detach()
            if o.any():
                part = torch.distributions.MultivariateNormal(gmm.loc[k, o].detach(), covariance[k][o][:, o])
                expected = expected + part.log_prob(point[o])
            torch.testing.assert_close(found[k].detach(), expected, **ROUNDING)


def test_log_prob_is_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, mask = small_model(), small_images(7), masks(7)
    together = model.log_prob(images, mask)
    monkeypatch.setattr("dcgmm.model.stack.BATCH_SIZE", 3)
    torch.testing.assert_close(model.log_prob(images.numpy(), mask.numpy()), together, **ROUNDING)
    assert not together.requires_grad
    assert model.log_prob(images[:0], mask[:0]).shape == model.log_prob(images[:0], mask[0]).shape == (0,)
    one = model.log_prob(images, mask[0])
    torch.testing.assert_close(one[:1], together[:1], **ROUNDING)


@pytest.mark.parametrize("shape", [(9, 8), (7, 9), (3, 9, 7), (2, 9, 7, 1), (9,)])
def test_masks_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError) as error:
        small_model().score(small_images(2), np.ones(shape, bool))
    assert error.value.field == "observed"
    with pytest.raises(OptionError) as error:
        small_model().log_prob(small_images(2), np.ones(shape, bool))
    assert error.value.field == "observed"


def test_nan_that_counts_as_seen_is_refused() -> None:
    images = small_images(2).double() / 255
    images[1, 0, 0] = torch.nan
    with pytest.raises(OptionError) as error:
        small_model().score(images, torch.ones(SHAPE[:2]))
    assert error.value.field == "images"
