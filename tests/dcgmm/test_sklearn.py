"""The scikit-learn estimators: scikit-learn's own checks, densities, images, small data, what they refuse."""

import io
import math
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import homogeneity_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import dcgmm
from dcgmm.errors import InputError, OptionError
from dcgmm.options import made
from dcgmm.outliers.options import SCORES
from dcgmm.sklearn import ConvolutionalGaussianMixture, MixtureClassifier, MixtureOutlierDetector
from dcgmm.sklearn.recipes import FEATURES, IMAGES
from dcgmm.training.options import TrainerOptions
from tests.conftest import FLOAT32
from tests.refusals import refused

ROOT = Path(__file__).parents[2]
# On 8x8 images: windows of 4x4, then all of them.
LAYERS: list[dict[str, Any]] = [
    {"type": "folding", "kernel": [4, 4], "stride": [2, 2]},
    {"type": "gmm", "components": 4},
    {"type": "folding", "kernel": [3, 3]},
    {"type": "gmm", "components": 9},
]
OPEN = LAYERS[:2]  # its top layer has 3x3 positions
SHORT: dict[str, Any] = {"epochs": 3, "random_state": 0}

Rows = NDArray[Any]


@pytest.fixture(scope="module")
def digits() -> Rows:  # (300, 64), floats in [0, 1]
    rows: Rows = load_digits().data[:300] / 16
    return rows


@pytest.fixture(scope="module")
def blobs() -> tuple[Rows, Rows]:  # (300, 2), (300,)
    rows, labels = make_blobs(300, 2, centers=[[0, 0], [30, 0], [0, 500]], cluster_std=[1, 2, 20], random_state=0)
    return rows, labels


@pytest.fixture(scope="module")
def mixture(blobs: tuple[Rows, Rows]) -> ConvolutionalGaussianMixture:
    return ConvolutionalGaussianMixture(n_components=4, random_state=0).fit(blobs[0])


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [ConvolutionalGaussianMixture(epochs=5), MixtureOutlierDetector(epochs=5), MixtureClassifier(epochs=20)]
)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        *(ConvolutionalGaussianMixture(), MixtureOutlierDetector()),
        *(MixtureClassifier(), MixtureClassifier(method="readout")),
    ]
)
def test_scikit_learns_checks_by_default(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


# Densities of features


def test_density_of_features_integrates_to_one(mixture: ConvolutionalGaussianMixture, blobs: tuple[Rows, Rows]) -> None:
    low, high = blobs[0].min(0), blobs[0].max(0)
    margin = high - low
    axes = [np.linspace(start, end, 400) for start, end in zip(low - margin, high + margin, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    cell = math.prod(axis[1] - axis[0] for axis in axes)
    assert np.exp(mixture.score_samples(grid)).sum() * cell == pytest.approx(1, abs=1e-3)


def test_density_of_features_is_the_mixture_of_its_parameters(
    mixture: ConvolutionalGaussianMixture, blobs: tuple[Rows, Rows]
) -> None:
    gmm = mixture.model_.gmms["gmm1"]
    oracle = GaussianMixture(gmm.components, covariance_type="diag")
    oracle.weights_ = gmm.log_weights.exp().detach().numpy()
    oracle.means_ = gmm.loc.detach().numpy() * mixture.data_range_ + mixture.data_min_
    oracle.precisions_cholesky_ = gmm.precision_sqrt.detach().numpy() / mixture.data_range_
    far = np.concatenate([blobs[0], [[-100.0, 1000.0]]])
    np.testing.assert_allclose(mixture.score_samples(far), oracle.score_samples(far), rtol=1e-9)
    np.testing.assert_allclose(mixture.predict_proba(far), oracle.predict_proba(far), atol=1e-9)
    np.testing.assert_array_equal(mixture.predict(far), oracle.predict(far))


def test_small_data_give_a_sensible_mixture(blobs: tuple[Rows, Rows]) -> None:
    rows, labels = blobs[0][:50], blobs[1][:50]
    mixture = ConvolutionalGaussianMixture(random_state=0).fit(rows)
    oracle = GaussianMixture(3, covariance_type="diag", random_state=0).fit(rows)
    assert mixture.score(rows) > oracle.score(rows) - 0.5  # it has a floor of the variance, the oracle has none
    assert homogeneity_score(labels, mixture.predict(rows)) > 0.9


def test_density_of_images_is_as_good_as_expectation_maximisation() -> None:
    images = dcgmm.datasets.load("mnist_sample", limit=500).train.images
    rows = images.flatten(1).numpy() / np.float32(255)
    ours = ConvolutionalGaussianMixture(image_shape=(28, 28), random_state=0).fit(rows)
    theirs = GaussianMixture(9, covariance_type="diag", reg_covar=0.05, random_state=0).fit(rows)
    assert ours.score(rows) > theirs.score(rows) - 10


def test_a_constant_feature_and_an_offset_do_no_harm(blobs: tuple[Rows, Rows]) -> None:
    rows = np.column_stack([blobs[0] + 1e6, np.full(len(blobs[0]), 7.0)])
    mixture = ConvolutionalGaussianMixture(**SHORT).fit(rows)
    assert np.isfinite(mixture.score_samples(rows)).all()
    assert mixture.data_range_[2] == 1


def test_a_low_limit_of_the_precision_holds(blobs: tuple[Rows, Rows]) -> None:
    mixture = ConvolutionalGaussianMixture(precision_limit=0.25, **SHORT).fit(blobs[0])
    assert float(mixture.model_.gmms["gmm1"].precision_sqrt.detach().max()) <= 0.5


def test_information_criteria(mixture: ConvolutionalGaussianMixture, blobs: tuple[Rows, Rows]) -> None:
    rows = blobs[0]
    likelihood = mixture.score_samples(rows).sum()
    free = 3 + 4 * 2 + 4 * 2  # weights, means, variances
    assert mixture.bic(rows) == pytest.approx(free * math.log(300) - 2 * likelihood)
    assert mixture.aic(rows) == pytest.approx(2 * free - 2 * likelihood)


@pytest.mark.parametrize(
    "arch",
    [
        LAYERS,
        OPEN,
        made(dcgmm.Architecture, {"layers": [{"type": "folding", "kernel": [8, 8]}, LAYERS[1]], "exponent": 0.5}),
        [LAYERS[1]],
    ],
    ids=["two layers", "windows", "exponent", "pixels"],
)
def test_information_criteria_of_what_is_no_density(arch: Any, digits: Rows) -> None:
    mixture = ConvolutionalGaussianMixture(image_shape=(8, 8), arch=arch, **SHORT).fit(digits)
    for criterion in (mixture.bic, mixture.aic):
        with pytest.raises(InputError, match="one GMM layer over all features"):
            criterion(digits)


# Images


@pytest.mark.parametrize("arch", [None, LAYERS], ids=["flat", "deep"])
def test_images_are_taken_as_they_are(arch: Any, digits: Rows) -> None:
    rows = (digits * 255).astype(np.uint8)
    mixture = ConvolutionalGaussianMixture(image_shape=(8, 8), arch=arch, **SHORT).fit(rows)
    images = torch.from_numpy(rows).view(-1, 8, 8, 1)
    np.testing.assert_array_equal(mixture.score_samples(rows), mixture.model_.log_prob(images).double().numpy())
    for same in (images, images.numpy(), rows.reshape(-1, 8, 8), rows / 255):
        np.testing.assert_allclose(mixture.score_samples(same), mixture.score_samples(rows), **FLOAT32)


def test_images_may_be_read_only(digits: Rows) -> None:
    rows = digits.copy()
    rows.flags.writeable = False
    assert ConvolutionalGaussianMixture(image_shape=[8, 8, 1], **SHORT).fit(rows).n_features_in_ == 64


def test_what_the_top_layer_says(digits: Rows) -> None:
    mixture = ConvolutionalGaussianMixture(image_shape=(8, 8), arch=OPEN, **SHORT)
    labels = mixture.fit_predict(digits)
    shares, positions = mixture.predict_proba(digits), mixture.transform(digits)
    assert shares.shape == (300, 4)
    assert positions.shape == (300, 9 * 4)
    np.testing.assert_allclose(positions.reshape(300, 9, 4).mean(1), shares)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(labels, shares.argmax(1))
    assert list(mixture.get_feature_names_out()[[0, -1]]) == [
        "convolutionalgaussianmixture0",
        "convolutionalgaussianmixture35",
    ]


def test_an_architecture_by_name() -> None:
    images = np.random.RandomState(0).rand(20, 28, 28)
    mixture = ConvolutionalGaussianMixture(image_shape=(28, 28), arch="2L-b", epochs=1).fit(images)
    assert str(mixture.model_.architecture) == str(dcgmm.arch("2L-b"))


def test_layers_over_features() -> None:
    rows = np.random.RandomState(0).normal(size=(40, 6))
    layers: list[dict[str, Any]] = [
        {"type": "folding", "kernel": [1, 3], "stride": [1, 3]},
        {"type": "gmm", "components": 4},
    ]
    mixture = ConvolutionalGaussianMixture(arch=layers, **SHORT).fit(rows)
    scaled = torch.from_numpy((rows - rows.min(0)) / np.ptp(rows, 0)).view(-1, 1, 6, 1)
    np.testing.assert_allclose(mixture.score_samples(rows), mixture.model_.log_prob(scaled).numpy())


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"image_shape": (8,)}, "image_shape"),
        ({"image_shape": (8, 0)}, "image_shape"),
        ({"image_shape": (8, 8.0)}, "image_shape"),
        ({"n_components": 10}, "n_components"),
        ({"arch": "4L"}, "arch"),
        ({"device": "gpu"}, "device"),
    ],
)
def test_parameters_are_refused_by_name(given: dict[str, Any], field: str, digits: Rows) -> None:
    with pytest.raises(OptionError) as caught:
        ConvolutionalGaussianMixture(**{"image_shape": (8, 8), **given}).fit(digits)
    assert caught.value.field == field


def test_images_that_do_not_fit_are_refused(digits: Rows) -> None:
    mixture = ConvolutionalGaussianMixture(image_shape=(8, 8), **SHORT)
    with refused("X", "(n, 8, 8, 1)", "(n, 64)", "(300, 32)"):
        mixture.fit(digits[:, :32])
    with refused("X", "(n, 8, 8, 1)", "(n, 64)", "(300, 4, 16)"):
        mixture.fit(digits.reshape(300, 4, 16))
    with refused("images", "uint8", "[0, 1]", 16, kind=OptionError):
        mixture.fit(digits * 16)
    with refused("layer 1", "1x64"):
        ConvolutionalGaussianMixture(arch=LAYERS).fit(digits)


# Samples


def test_samples_of_features(mixture: ConvolutionalGaussianMixture) -> None:
    rows, components = mixture.sample(2000)
    assert rows.shape == (2000, 2)
    assert components.shape == (2000,)
    gmm = mixture.model_.gmms["gmm1"]
    weights = np.bincount(components, minlength=4) / 2000
    np.testing.assert_allclose(weights, gmm.log_weights.exp().detach().numpy(), atol=0.05)
    mean = gmm.loc.detach().numpy() * mixture.data_range_ + mixture.data_min_
    deviation = mixture.data_range_ / gmm.precision_sqrt.detach().numpy()
    assert np.abs((rows - mean[components]) / deviation[components]).mean() == pytest.approx(
        math.sqrt(2 / math.pi), abs=0.05
    )
    np.testing.assert_array_equal(mixture.sample(2000)[0], rows)


def test_samples_of_images(digits: Rows) -> None:
    mixture = ConvolutionalGaussianMixture(image_shape=(8, 8), arch=OPEN, **SHORT).fit(digits)
    rows, components = mixture.sample(5, top_s=2)
    assert components.shape == (5, 9)
    assert mixture.score_samples(rows).shape == (5,)
    with pytest.raises(OptionError) as caught:
        mixture.sample(0)
    assert caught.value.field == "n_samples"


@pytest.mark.parametrize("count", [0, 2.5, "3"])
def test_samples_are_a_whole_number(mixture: ConvolutionalGaussianMixture, count: Any) -> None:
    with pytest.raises(OptionError, match=r"^n_samples must be a whole number of at least 1"):
        mixture.sample(count)


def test_features_of_any_size_give_numbers(blobs: tuple[Rows, Rows]) -> None:
    rows, labels = blobs
    given: dict[str, Any] = {"n_components": 4, "epochs": 2, "random_state": 0}
    mixture, classes = ConvolutionalGaussianMixture(**given).fit(rows), MixtureClassifier(**given).fit(rows, labels)
    far = np.array([[1e200, -1.7e308], [-1e200, 1.7e308]])
    assert np.isfinite(mixture.score_samples(far)).all()
    np.testing.assert_allclose(mixture.predict_proba(far).sum(1), 1)
    np.testing.assert_allclose(classes.predict_proba(far).sum(1), 1)
    with pytest.raises(InputError, match=r"range is a number, not from -1.7e\+308 to 1.7e\+308"):
        mixture.fit(far)


def test_nothing_can_be_drawn_before_fitting() -> None:
    with pytest.raises(NotFittedError):
        ConvolutionalGaussianMixture().sample()


# Training


def test_on_much_data_images_train_as_fit_does() -> None:
    model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-c"))
    options = IMAGES.trainer_options(model, 60_000, None, 100, 0.05)
    defaults = TrainerOptions()
    assert options.annealing.window == defaults.annealing.window
    assert (options.epochs, options.batch_size) == (25, 100)  # what the defaults come to on as much data
    # The alpha is another name of the same window.
    assert replace(options, annealing=defaults.annealing, epochs=None, batch_size=None) == defaults


@pytest.mark.parametrize("recipe", [IMAGES, FEATURES], ids=["images", "features"])
@pytest.mark.parametrize("count", [2, 50, 2000])
def test_few_samples_get_enough_steps_to_anneal(recipe: Any, count: int) -> None:
    model = dcgmm.DCGMM.build((8, 8, 1), LAYERS)
    options = recipe.trainer_options(model, count, None, 100, 0.05)
    trainer = dcgmm.training.Trainer(model, torch.rand(count, 8, 8, 1), options, [torch.Generator()])
    assert trainer.total_steps >= recipe.steps
    assert trainer.total_steps >= trainer.annealing_steps


def test_an_int_is_the_seed_of_fit(digits: Rows) -> None:
    seed: Any = np.int64(3)
    mixture = ConvolutionalGaussianMixture(image_shape=(8, 8), n_components=25, epochs=2, random_state=seed).fit(digits)
    model = dcgmm.DCGMM.build((8, 8, 1), mixture.model_.architecture)
    dcgmm.fit(model, digits.reshape(-1, 8, 8), epochs=2, seed=3, annealing={"alpha": 1.0})
    assert torch.equal(model.gmms["gmm1"].loc, mixture.model_.gmms["gmm1"].loc)


def test_no_seed_is_another_seed_each_time(blobs: tuple[Rows, Rows]) -> None:
    first, second = (ConvolutionalGaussianMixture(epochs=1).fit(blobs[0]) for _ in range(2))
    assert first.score(blobs[0]) != second.score(blobs[0])


# Among other estimators


@pytest.mark.parametrize("kind", [ConvolutionalGaussianMixture, MixtureOutlierDetector])
def test_what_is_dumped_and_loaded_scores_alike(kind: Any, digits: Rows) -> None:
    estimator = kind(image_shape=(8, 8), arch=LAYERS, **SHORT).fit(digits)
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    np.testing.assert_array_equal(joblib.load(file).score_samples(digits), estimator.score_samples(digits))


def test_clone_keeps_parameters_and_forgets_the_fit(digits: Rows) -> None:
    estimator = MixtureOutlierDetector(image_shape=(8, 8), arch=LAYERS, contamination=0.1, **SHORT).fit(digits)
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert not hasattr(copy, "model_")


@pytest.mark.slow
def test_grid_search_in_a_pipeline(blobs: tuple[Rows, Rows]) -> None:
    pipeline = make_pipeline(StandardScaler(), ConvolutionalGaussianMixture(random_state=0))
    grid = {"convolutionalgaussianmixture__n_components": [1, 4]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(blobs[0])
    assert search.best_params_ == {"convolutionalgaussianmixture__n_components": 4}
    assert search.transform(blobs[0]).shape == (300, 4)


def test_tensors_of_bfloat16_are_taken(digits: Rows) -> None:
    images = torch.from_numpy(digits).bfloat16()
    mixture = ConvolutionalGaussianMixture(image_shape=(8, 8), n_components=4, **SHORT).fit(images)
    assert np.array_equal(mixture.score_samples(images), mixture.score_samples(images.float().numpy()))


def test_images_of_other_values_through_a_scaler(digits: Rows) -> None:
    outliers = MixtureOutlierDetector(image_shape=(8, 8), n_components=4, **SHORT)
    shifted = digits * 6.1 - 3.3
    assert MinMaxScaler().fit_transform(shifted).max() > 1  # rounded
    make_pipeline(MinMaxScaler(), clone(outliers)).fit(shifted)
    fitted = make_pipeline(MinMaxScaler(clip=True), outliers).fit(shifted)
    assert set(fitted.predict(shifted * 1.5)) <= {-1, 1}
    with pytest.raises(OptionError) as error:
        outliers.predict(shifted)
    assert error.value.field == "images"


# Outliers


def test_contamination_is_the_share_under_the_threshold(digits: Rows) -> None:
    detector = MixtureOutlierDetector(image_shape=(8, 8), contamination=0.1, **SHORT)
    labels = detector.fit_predict(digits)
    assert (labels == -1).mean() == pytest.approx(0.1)
    scores = detector.score_samples(digits)
    np.testing.assert_array_equal(detector.decision_function(digits), scores - detector.offset_)
    np.testing.assert_array_equal(labels, np.where(scores >= detector.offset_, 1, -1))


def test_auto_puts_the_threshold_under_the_mean(blobs: tuple[Rows, Rows]) -> None:
    detector = MixtureOutlierDetector(**SHORT).fit(blobs[0])
    scores = detector.score_samples(blobs[0])
    assert detector.offset_ == pytest.approx(scores.mean() - 1.5 * scores.std())


def test_features_are_judged_by_their_density(mixture: ConvolutionalGaussianMixture, blobs: tuple[Rows, Rows]) -> None:
    detector = MixtureOutlierDetector(n_components=4, random_state=0).fit(blobs[0])
    np.testing.assert_array_equal(detector.score_samples(blobs[0]), mixture.score_samples(blobs[0]))
    assert list(detector.predict([[30, 0], [1e4, -1e4]])) == [1, -1]


@pytest.mark.parametrize("score", [None, *SCORES])
def test_images_are_judged_by_any_score(score: str | None, digits: Rows) -> None:
    detector = MixtureOutlierDetector(image_shape=(8, 8), arch=LAYERS, outlier_score=score, **SHORT).fit(digits)
    name = detector.detector_.name_of(score or "joint")
    expected = detector.detector_.scores(digits.reshape(-1, 8, 8))[name]
    np.testing.assert_allclose(detector.score_samples(digits), expected.numpy())


def test_features_are_judged_by_any_score_outside_their_range_too(blobs: tuple[Rows, Rows]) -> None:
    detector = MixtureOutlierDetector(outlier_score="standardised", **SHORT).fit(blobs[0])
    assert list(detector.predict([[0, 0], [1e4, -1e4]])) == [1, -1]


def test_a_score_that_there_is_not() -> None:
    with pytest.raises(OptionError) as error:
        MixtureOutlierDetector(outlier_score="best").fit([[0.0], [1.0]])
    assert (error.value.field, error.value.value) == ("outlier_score", "best")
    detector = MixtureOutlierDetector(outlier_score="gmm1_standardised", **SHORT).fit([[0.0], [1.0]])
    assert detector.predict([[9.0]]) == [-1]


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["sklearn_estimators.py", "--limit", "200", "--epochs", "2"])
    runpy.run_path(str(ROOT / "examples" / "sklearn_estimators.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "IsolationForest" in out
    assert "GaussianMixture" in out


def test_what_has_no_score_is_no_inlier(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.array([np.nan, 0.0, 1.0, -1.0])
    monkeypatch.setattr(MixtureOutlierDetector, "decision_function", lambda self, X: scores)
    assert MixtureOutlierDetector().predict([[0.0]] * 4).tolist() == [-1, 1, 1, -1]


# Classes


@pytest.mark.parametrize("method", ["generative", "readout"])
def test_classes_of_features_and_of_images(method: str, blobs: tuple[Rows, Rows], digits: Rows) -> None:
    names = np.array(["a", "b", "c"])[blobs[1]]
    classifier = MixtureClassifier(method=method, random_state=0).fit(blobs[0], names)
    assert classifier.score(blobs[0], names) > 0.95
    shares = classifier.predict_proba(blobs[0])
    assert classifier.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_array_equal(classifier.classes_[shares.argmax(1)], classifier.predict(blobs[0]))
    assert classifier.predict_proba(blobs[0] + 1e4).shape == (300, 3)  # outside what training had

    labels = load_digits().target[:300]
    whole = MixtureClassifier(image_shape=(8, 8), arch=OPEN, method=method, random_state=0, epochs=60)
    assert whole.fit(digits.reshape(-1, 8, 8), labels).score(digits, labels) > 0.4  # of ten classes by four strokes
    told = whole.classifier_.log_posterior(digits.reshape(-1, 8, 8)).exp()
    np.testing.assert_allclose(told, whole.predict_proba(digits), rtol=1e-4, atol=1e-6)


def test_classes_that_cannot_be(blobs: tuple[Rows, Rows]) -> None:
    classifier = MixtureClassifier(epochs=1)
    with refused("y", "two", 7):
        classifier.fit(blobs[0], np.full(300, 7))
    with pytest.raises(ValueError, match="method"):
        MixtureClassifier(method="knn").fit(*blobs)
    with refused("X", "(n, 2, 2, 1)", "(n, 4)", "(300, 2)"):
        MixtureClassifier(image_shape=(2, 2)).fit(*blobs)
