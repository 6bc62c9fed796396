"""`MixtureOutlierDetector`: tells samples that are unlike those it was trained on."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.outliers.detector import Detector
from dcgmm.outliers.options import DEFAULT_C
from dcgmm.sklearn.base import Arch, Floats, ModelEstimator


class MixtureOutlierDetector(OutlierMixin, ModelEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Outliers are what a Deep Convolutional Gaussian Mixture Model of the training samples finds unlikely.

    Args:
        outlier_score: what samples are judged by, a score of `dcgmm.outliers.scores`: log_prob, standardised (both of
            the top layer, or as gmm1_log_prob), ratio, joint, pixels, worst, worst_region or auto. None is joint for
            images, log_prob for features.
        contamination: share of outliers in the training samples, in (0, 0.5]: just they lie below the threshold. auto:
            the threshold is 1.5 standard deviations below the mean score of the training samples.
        image_shape, arch, n_components, epochs, batch_size, learning_rate, precision_limit, device, random_state: as
            for `ConvolutionalGaussianMixture`.

    Attributes:
        offset_: the threshold: `decision_function` is `score_samples` less it.
        detector_: the fitted `dcgmm.Detector`; what it takes of features is scaled to [0, 1].
        model_, history_, data_min_, data_range_, n_features_in_, feature_names_in_: as for
            `ConvolutionalGaussianMixture`.

    Raises:
        ValueError: as for `ConvolutionalGaussianMixture`.

    Examples:
        >>> import dcgmm
        >>> import numpy as np
        >>> X = np.random.RandomState(0).normal(size=(200, 2))
        >>> detector = dcgmm.sklearn.MixtureOutlierDetector(n_components=4, epochs=10, batch_size=20, random_state=0)
        >>> detector.fit(X).predict([[0.0, 0.0], [9.0, -9.0]])
        array([ 1, -1])

    Source: section 3.2.2.
    """

    offset_: float
    detector_: Detector

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ModelEstimator._parameter_constraints,
        "outlier_score": [str, None],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(
        self,
        *,
        image_shape: Sequence[int] | None = None,
        arch: Arch = None,
        n_components: int = 9,
        outlier_score: str | None = None,
        contamination: float | str = "auto",
        epochs: int | None = None,
        batch_size: int = 100,
        learning_rate: float = 0.05,
        precision_limit: float | None = None,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            image_shape=image_shape,
            arch=arch,
            n_components=n_components,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            precision_limit=precision_limit,
            device=device,
            random_state=random_state,
        )
        self.outlier_score = outlier_score
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:  # (N, F) or (N, H, W, C)
        """Train a new model on X, (N, F) or images, then choose the threshold; y is ignored."""
        images = self._images(self._fit_model(X))
        self.detector_ = Detector.fit(self.model_, images)
        scores = self._scores(images)
        if self.contamination == "auto":
            self.offset_ = float(scores.mean() - DEFAULT_C * scores.std())
        else:
            self.offset_ = float(np.percentile(scores, 100.0 * float(self.contamination)))
        return self

    def score_samples(self, X: Any) -> Floats:  # (N,)
        """The score of each sample, (N,), high for inliers."""
        return self._scores(self._checked(X))

    def decision_function(self, X: Any) -> Floats:  # (N,)
        """The score less the threshold, (N,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # (N,)
        """1 for inliers, -1 for outliers, and for what has no score (NaN); (N,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _scores(self, images: Tensor) -> Floats:  # (N, H, W, C) -> (N,)
        score = self.outlier_score or ("log_prob" if self.image_shape is None else "joint")
        if score == "log_prob":
            return self._log_prob(images)
        try:
            name = self.detector_.name_of(score)
        except OptionError as error:
            raise OptionError("outlier_score", error.rule, score) from None
        return self._gathered(images, lambda batch: self.detector_.report_floats(batch).scores[name])
