"""What is made of a trained model, of one with factors: outliers, clusters, files, weights by use, estimators."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor
from torch.distributions import MultivariateNormal

from dcgmm.checkpoints import load, load_run, save, save_detector, write_state
from dcgmm.clustering import assign
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT
from dcgmm.model import DCGMM, LayerOptions, LayerType
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.options import plain
from dcgmm.outliers import Detector, evaluate, worst_positions
from dcgmm.outliers.localisation import pixel_maps
from dcgmm.sklearn import ConvolutionalGaussianMixture, MixtureOutlierDetector
from dcgmm.sklearn.recipes import FEATURES
from dcgmm.states import build_model, model_state
from dcgmm.training.weights import mean_responsibilities, weights_by_use
from tests.dcgmm.small import LAYERS, SHAPE, give_factors, small_images, small_model

FLAT = [
    LayerOptions(LayerType.folding, kernel=[9, 7], stride=[1, 1]),
    LayerOptions(LayerType.gmm, components=4, factors=3),
]
DEEP = [
    LayerOptions(LayerType.gmm, components=each.components, factors=factors) if each.type is LayerType.gmm else each
    for each, factors in zip(LAYERS, (None, 5, None, None, 2), strict=True)
]


def built(layers: list[LayerOptions]) -> DCGMM:
    """Parameters that are all different, in float64."""
    model, generator = DCGMM.build(SHAPE, layers).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.gmms.values():
            layer.logits.copy_(torch.randn(layer.logits.shape, generator=generator))
            layer.loc.copy_(torch.rand(layer.loc.shape, generator=generator))
            layer.precision_sqrt.copy_(1 + 3 * torch.rand(layer.loc.shape, generator=generator))
    return give_factors(model)


def flat() -> DCGMM:
    return built(FLAT)


def deep() -> DCGMM:
    return built(DEEP)


both = pytest.mark.parametrize("make", [flat, deep])


def joint(gmm: FactorGMM, x: Tensor) -> Tensor:  # (..., D) -> (..., K)
    """Scores by dense Gaussians."""
    precision = gmm.precision_sqrt.square().diag_embed() - gmm.factors @ gmm.factors.mT
    log_density: Tensor = MultivariateNormal(gmm.loc, precision_matrix=precision).log_prob(x.unsqueeze(-2))
    return (log_density + gmm.logits.log_softmax(-1)).detach()


def joints(model: DCGMM, images: Tensor) -> dict[str, Tensor]:
    """The same for all GMM layers of a model; the layers under them do their own part."""
    x, found = images.double() / 255, {}
    for name, layer in model.named_layers.items():
        if isinstance(layer, FactorGMM):
            found[name] = joint(layer, x)
            x = found[name].softmax(-1)
        else:
            x = layer(x)
    return found


@both
def test_outliers_are_told_by_the_likelihood_with_factors(make: Callable[[], DCGMM]) -> None:
    model, images, others = make(), small_images(40), small_images(9, 1)
    detector = Detector.fit(model, images, 7)
    expected = {name: scores.logsumexp(-1) for name, scores in joints(model, images).items()}
    report, scores = detector.report(others), detector.scores(images)
    assert list(detector.positions) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(detector.positions[name].mean, values.mean(0), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(detector.positions[name].variance, values.var(0, correction=0), rtol=1e-6, atol=1e-8)
        score = scores[f"{name}_log_prob"]
        torch.testing.assert_close(score, values.mean((1, 2)), rtol=1e-8, atol=1e-8)
        threshold = detector.threshold(f"{name}_log_prob", 1.5)
        assert threshold == pytest.approx(float(score.mean() - 1.5 * score.std(correction=0)))
        map_ = report.maps[name]
        own = joints(model, others)[name].logsumexp(-1)
        standardised = (own - values.mean(0)) / values.std(0, correction=0)
        torch.testing.assert_close(map_, standardised, rtol=1e-6, atol=1e-6)
        assert pixel_maps(model, name, map_).shape == (9, *SHAPE[:2])
    assert set(report.scores) == set(detector.names)
    assert all(bool(values.isfinite().all()) for values in report.scores.values())
    assert len(worst_positions(model, report.maps)) == 9
    again = Detector.from_state(model, detector.state_dict())
    for name, values in again.report(others).scores.items():
        assert torch.equal(values, report.scores[name])
    assert evaluate(detector, images, others).figures().keys() == set(detector.names)


@both
def test_clusters_are_the_most_likely_components_with_factors(make: Callable[[], DCGMM]) -> None:
    model, images = make(), small_images(40)
    top = list(model.gmms)[-1]
    expected = joints(model, images)[top][:, 0, 0]
    found = assign(model, images)
    assert torch.equal(found.labels, expected.argmax(-1))
    torch.testing.assert_close(found.responsibilities, expected.softmax(-1), rtol=1e-8, atol=1e-8)


@both
def test_weights_follow_use(make: Callable[[], DCGMM]) -> None:
    model, images = make(), small_images(30)
    use = {name: scores.softmax(-1).flatten(0, -2).mean(0) for name, scores in joints(model, images).items()}
    for name, expected in use.items():
        torch.testing.assert_close(mean_responsibilities(model, images, name), expected, rtol=1e-7, atol=1e-9)
    lowest = next(iter(use))
    before = model.score(images)[lowest].log_prob.mean()
    weights_by_use(model, images)
    assert model.score(images)[lowest].log_prob.mean() >= before
    factors = {name: value for name, value in model.state_dict().items() if name.endswith("factors")}
    assert all(torch.equal(value, make().state_dict()[name]) for name, value in factors.items())


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_come_back_from_files_with_their_factors(
    make: Callable[[], DCGMM], dtype: torch.dtype, tmp_path: Path
) -> None:
    model, images = make().to(dtype), small_images(5)
    save(model, tmp_path / "model.pt")
    write_state(tmp_path / CHECKPOINT, {"model": model_state(model)})
    save_detector(Detector.fit(model, images), tmp_path)
    run = load_run(tmp_path)
    for again in (load(tmp_path / "model.pt"), run.model, build_model(model_state(model))):
        assert again.architecture == model.architecture
        for gmm in again.gmms.values():
            assert isinstance(gmm, FactorGMM)
            assert gmm.has_factors
            assert gmm.factors.movedim(-1, -3).is_contiguous(), "as the passes over points take them"
        assert torch.equal(again.log_prob(images), model.log_prob(images))
    assert run.detector().scores(images)["joint"].shape == (5,)


def test_a_model_that_has_not_begun_its_factors_comes_back_without(tmp_path: Path) -> None:
    model = DCGMM.build(SHAPE, DEEP)
    model.draw_start(torch.Generator().manual_seed(0))
    save(model, tmp_path / "model.pt")
    again = load(tmp_path / "model.pt")
    assert not any(gmm.has_factors for gmm in again.gmms.values() if isinstance(gmm, FactorGMM))
    assert torch.equal(again.log_prob(small_images(5)), model.log_prob(small_images(5)))


@pytest.mark.parametrize("factors", [None, 4])
def test_factors_that_do_not_fit_the_file_s_architecture(factors: int | None, tmp_path: Path) -> None:
    state = model_state(deep())
    state["architecture"]["layers"][1]["factors"] = factors
    write_state(tmp_path / "model.pt", {"model": state})
    with pytest.raises(InputError, match=r"is damaged: InputError: parameters? layers.1.factors"):
        load(tmp_path / "model.pt")


def test_the_architecture_is_plain_data_of_the_same_form_without_factors() -> None:
    layers = plain(deep().architecture)["layers"]
    assert [layer["factors"] for layer in layers] == [None, 5, None, None, 2]
    assert [layer["factors"] for layer in plain(small_model().architecture)["layers"]] == [None] * 5
    assert str(deep().architecture) == "F(3,2,2,1) G(4,5) P(2,2) F(2,3,1,1) G(9,2)"


# Estimators


ARCH: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [4, 4], "stride": [4, 4]},
    {"type": "gmm", "components": 4, "factors": 2},
    {"type": "folding", "kernel": [2, 2]},
    {"type": "gmm", "components": 4, "factors": 2},
]


def rows(count: int, seed: int = 0) -> NDArray[Any]:  # (N, 5)
    """Features in two clusters that vary along a direction each."""
    random = np.random.RandomState(seed)
    kind, strength = random.randint(0, 2, count), random.normal(size=(count, 1))
    directions = np.array([[3.0, 3.0, -3.0, 0.0, 30.0], [0.0, -3.0, 3.0, 3.0, -30.0]])
    centres = np.array([[0.0, 0.0, 0.0, 0.0, 100.0], [20.0, 20.0, 20.0, 20.0, 400.0]])
    noise = random.normal(size=(count, 5)) * [1, 1, 1, 1, 10]
    values: NDArray[Any] = centres[kind] + strength * directions[kind] + noise
    return values


def features(factors: int) -> ConvolutionalGaussianMixture:
    layers: list[dict[str, Any]] = [
        {"type": "folding", "kernel": [1, 5]},
        {"type": "gmm", "components": 4, "factors": factors},
    ]
    return ConvolutionalGaussianMixture(arch=layers, random_state=0)


def test_features_have_a_density_with_factors() -> None:
    mixture, held_out = features(2).fit(rows(500)), rows(300, 1)
    gmm = mixture.model_.gmms["gmm1"]
    assert isinstance(gmm, FactorGMM)
    scaled = torch.from_numpy((held_out - mixture.data_min_) / mixture.data_range_)
    expected = joint(gmm, scaled).logsumexp(-1).numpy() - np.log(mixture.data_range_).sum()
    np.testing.assert_allclose(mixture.score_samples(held_out), expected, rtol=1e-7)
    assert mixture.score(held_out) > features(0).fit(rows(500)).score(held_out) + 0.3
    # 3 weights, and for each component 5 means, 5 variances and 2 factors of 5 that may be rotated.
    free = 3 + 4 * (5 + 5 + 9)
    assert mixture.aic(held_out) == pytest.approx(2 * free - 2 * expected.sum())
    drawn, components = mixture.sample(20_000)
    own = drawn[components == np.bincount(components).argmax()] / mixture.data_range_
    covariance = np.cov(own.T)
    k = int(np.bincount(components).argmax())
    precision = gmm.precision_sqrt[k].square().diag() - gmm.factors[k] @ gmm.factors[k].mT
    expected_covariance = precision.inverse().detach().numpy()
    np.testing.assert_allclose(covariance, expected_covariance, atol=0.06 * expected_covariance.max())


def test_factors_of_features_learn_in_proportion_to_their_scale() -> None:
    model = DCGMM.build((1, 5, 1), [LayerOptions(LayerType.gmm, components=4)], FEATURES.gmm_options(None))
    options = FEATURES.trainer_options(model, 1000, 50, 100, 0.05)
    assert options.learning_rate.factors / options.learning_rate.precision_sqrt == 3
    assert options.factor_epochs == 20  # of 50 epochs, as 10 of the library's 25


@pytest.mark.parametrize("shape", [(8, 8), None])
def test_estimators_take_factors(shape: tuple[int, int] | None) -> None:
    random = np.random.RandomState(0)
    x = random.rand(60, 64)
    arch = ARCH if shape else [{"type": "folding", "kernel": [1, 64]}, ARCH[1]]
    mixture = ConvolutionalGaussianMixture(image_shape=shape, arch=arch, epochs=150, random_state=0)
    labels = mixture.fit_predict(x)
    for gmm in mixture.model_.gmms.values():
        assert isinstance(gmm, FactorGMM)
        assert gmm.has_factors
    assert mixture.predict_proba(x).shape == (60, 4)
    np.testing.assert_array_equal(clone(mixture).fit(x).predict(x), labels)
    kept = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(kept.score_samples(x), mixture.score_samples(x))
    assert mixture.sample(5, factor_scale=0.5)[0].shape == (5, 64)
    detector = MixtureOutlierDetector(image_shape=shape, arch=arch, epochs=150, contamination=0.1, random_state=0)
    assert (detector.fit(x).predict(x) == -1).sum() == pytest.approx(6, abs=1)
