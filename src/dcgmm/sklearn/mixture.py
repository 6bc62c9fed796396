"""`ConvolutionalGaussianMixture`: a density of images or features, and what it makes of them."""

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation.sampling import sample
from dcgmm.sklearn.base import Floats, ModelEstimator, is_density


# scikit-learn has no types.
class ConvolutionalGaussianMixture(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # scikit-learn has no types
    TransformerMixin,  # type: ignore[misc]  # the same
    DensityMixin,  # type: ignore[misc]
    ModelEstimator,
):
    """A Deep Convolutional Gaussian Mixture Model, trained by SGD.

    By default one mixture of diagonal Gaussians over all features; with `arch`, layers of mixtures over windows.

    Args:
        image_shape: (H, W) or (H, W, C): X holds images, (N, H, W, C), (N, H, W) or as rows (N, H * W * C), uint8 or
            floats in [0, 1], taken as they are. None: X is (N, F), any real features; each is scaled by its training
            minimum and range, and densities are those of the features as given.
        arch: an architecture's name as in `dcgmm.arch`, an `Architecture`, or a list of layers from the image up, each
            as {"type": "gmm", "components": 25}; features are an image of 1 x F x 1. None is one mixture over all.
        n_components: components of that mixture, a square number; not used with `arch`.
        epochs: passes over X. None is 25, or with few samples as many as give 2,000 steps (of images 4,000): annealing
            needs them. Where a number gives fewer steps, annealing hurries, and the fit is coarser.
        batch_size: samples a step, no more than there are.
        learning_rate: of SGD, for up to 25 components and in proportion beyond; it is annealed to 0.6 times this.
        precision_limit: no component's precision 1 / variance exceeds it, of pixel values in [0, 1] or of features
            scaled to that. None is 20, and 1,000 for features: no standard deviation under 0.03 of a feature's range.
        device: auto, cpu, cuda or cuda:N.
        random_state: of start values, shuffling and sampling. An int is the seed that `dcgmm.fit` takes.

    Attributes:
        model_: the trained `dcgmm.DCGMM`.
        history_: how the training went, a `dcgmm.training.History`.
        data_min_, data_range_: (F,), what features are scaled by; without image_shape.
        n_features_in_: F.
        feature_names_in_: (F,), where X had names.

    Raises:
        ValueError: from `fit`, a parameter is out of its range, the layers do not fit the shape, X holds NaN, other
            shapes or pixel values outside [0, 1], or fewer than two samples; or training diverges.

    Examples:
        >>> import dcgmm
        >>> X = dcgmm.datasets.load("mnist_sample", limit=300).train.images
        >>> mixture = dcgmm.sklearn.ConvolutionalGaussianMixture(
        ...     image_shape=(28, 28), arch="2L-b", epochs=5, random_state=0
        ... )
        >>> mixture.fit(X).predict_proba(X).shape, mixture.sample(3)[0].shape
        ((300, 36), (3, 784))

    Source: sections 3.1 and 3.2.1.
    """

    @property
    def _n_features_out(self) -> int:
        """Columns that `transform` gives."""
        return math.prod(self._top_shape())

    def fit(self, X: Any, y: Any = None) -> Self:  # (N, F) or (N, H, W, C)
        """Train a new model on X, (N, F) or images; y is ignored."""
        self._fit_model(X)
        return self

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int64]:  # (N,)
        """Train a new model and assign each sample of X to a component, (N,)."""
        return self.fit(X).predict(X)

    def score_samples(self, X: Any) -> Floats:  # (N,)
        """Log-likelihood of each sample in the top GMM layer, (N,), mean over its positions (nats; equation 3).

        With one mixture over all, it is the log-density of the sample.
        """
        return self._log_prob(self._checked(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`; y is ignored."""
        return float(self.score_samples(X).mean())

    def predict_proba(self, X: Any) -> Floats:  # (N, K)
        """Responsibilities of the top layer's K components, (N, K), mean over its positions (equation 2)."""
        shares: Floats = self._responsibilities(self._checked(X)).mean(1)
        return shares

    def predict(self, X: Any) -> NDArray[np.int64]:  # (N,)
        """The top layer's component with the largest responsibility, (N,)."""
        components: NDArray[np.int64] = self.predict_proba(X).argmax(1)
        return components

    def transform(self, X: Any) -> Floats:  # (N, P * K)
        """Responsibilities of the top layer's K components at its P positions, position by position, (N, P * K)."""
        responsibilities = self._responsibilities(self._checked(X))
        return responsibilities.reshape(len(responsibilities), -1)

    def sample(self, n_samples: int = 1, **options: Any) -> tuple[Floats, NDArray[np.int64]]:  # (N, F), (N,)
        """Draw samples and the components that they come from, of the layer drawn first, by default the top one.

        Pixel values are clipped to [0, 1], so that the model takes its own samples.

        Args:
            n_samples: N.
            options: of `dcgmm.sample`, as in `top_s=3, std_scale=0.3`.

        Returns:
            (N, F) samples, and (N,) components, (N, P) where that layer has P > 1 positions.

        Raises:
            InputError: n_samples is below 1, or an option is unknown or out of its range.
        """
        check_is_fitted(self)
        if n_samples != int(n_samples) or n_samples < 1:
            raise OptionError("n_samples", "a whole number of at least 1", n_samples)
        top = list(self.model_.gmms)[-1]
        drawn = sample(self.model_, int(n_samples), seed=self._seed(), **{"start": top} | options).to("cpu")
        rows = drawn.images.flatten(1).double().numpy()
        rows = rows.clip(0, 1) if self.image_shape is not None else rows * self.data_range_ + self.data_min_
        components = next(iter(drawn.components.values())).flatten(1).numpy()
        return rows, components[:, 0] if components.shape[1] == 1 else components

    def bic(self, X: Any) -> float:
        """Bayesian information criterion, p log N - 2 log-likelihood; the lower the better.

        Raises:
            InputError: the model is no density, see `aic`.
        """
        images = self._checked(X)
        return self._parameters("bic") * math.log(len(images)) - 2 * float(self._log_prob(images).sum())

    def aic(self, X: Any) -> float:
        """Akaike information criterion, 2 p - 2 log-likelihood; the lower the better.

        Raises:
            InputError: the model is no density: it has several GMM layers or windows smaller than its input, or it
                raises pixel values to a power.
        """
        images = self._checked(X)
        return 2 * self._parameters("aic") - 2 * float(self._log_prob(images).sum())

    def _parameters(self, name: str) -> int:
        """Free parameters p: K - 1 weights, K F means, K F variances; K times L factors of F, which may be rotated."""
        if not is_density(self.model_):
            raise InputError(
                f"{name} needs a density of the whole sample, one GMM layer over all features and no exponent (as with "
                f"arch=None), which {self.model_.architecture} is not"
            )
        gmm = next(iter(self.model_.gmms.values()))
        factors = gmm.description.factors or 0
        of_factors = self.n_features_in_ * factors - factors * (factors - 1) // 2
        return gmm.components - 1 + gmm.components * (2 * self.n_features_in_ + of_factors)

    def _top_shape(self) -> tuple[int, int]:  # P, K
        shape = list(self.model_.gmms.values())[-1].output_shape
        return shape.positions, shape.channels

    def _responsibilities(self, images: Tensor) -> Floats:  # (N, H, W, C) -> (N, P, K)
        return self._gathered(images, lambda batch: self._top(batch).responsibilities.flatten(1, 2))
