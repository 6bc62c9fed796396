"""`MixtureClassifier`: tells classes by a mixture that was trained without labels."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets

from dcgmm.classification.classifier import Classifier
from dcgmm.classification.fitting import fit_classifier
from dcgmm.classification.options import Method
from dcgmm.errors import InputError
from dcgmm.sklearn.base import Arch, Floats, ModelEstimator


class MixtureClassifier(ClassifierMixin, ModelEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classes by a Deep Convolutional Gaussian Mixture Model of all samples: labels come in when it has been trained.

    Args:
        method: generative: Bayes' rule over class-wise mixture weights of the top layer; readout: logistic regression
            on the responsibilities of all layers.
        image_shape, arch, n_components, epochs, batch_size, learning_rate, precision_limit, device, random_state: as
            for `ConvolutionalGaussianMixture`.

    Attributes:
        classes_: (G,), the classes.
        classifier_: the fitted `dcgmm.classification.Classifier`, which tells them by number; what it takes of
            features is scaled to [0, 1].
        model_, history_, data_min_, data_range_, n_features_in_, feature_names_in_: as for
            `ConvolutionalGaussianMixture`.

    Raises:
        ValueError: as for `ConvolutionalGaussianMixture`; y holds no classes, or fewer than two.

    Examples:
        >>> import dcgmm
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = dcgmm.sklearn.MixtureClassifier(epochs=20, batch_size=10, random_state=0)
        >>> bool(classifier.fit(X, y).score(X, y) > 0.9)
        True
    """

    classes_: NDArray[Any]
    classifier_: Classifier

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ModelEstimator._parameter_constraints,
        "method": [StrOptions({each.value for each in Method})],
    }

    def __init__(
        self,
        *,
        image_shape: Sequence[int] | None = None,
        arch: Arch = None,
        n_components: int = 9,
        method: str = "generative",
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
        self.method = method

    def fit(self, X: Any, y: Any = None) -> Self:  # (N, F) or (N, H, W, C), (N,)
        """Train a new model on X, then count its components by the classes y, (N,), or fit the readout."""
        self._validate_params()
        rows, labels = self._rows(X, reset=True, y=y)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y must hold at least two classes, not one class only: {self.classes_[0]}")
        self._train(rows)
        self.classifier_ = fit_classifier(self.model_, self._images(rows), index, self.method, seed=self._seed())
        return self

    def predict_log_proba(self, X: Any) -> Floats:  # (N, G)
        """log p(c | x) of the classes in `classes_`, (N, G)."""
        images = self._checked(X)
        return self._gathered(images, lambda batch: self.classifier_.of_scores(self.model_.score_floats(batch)))

    def predict_proba(self, X: Any) -> Floats:  # (N, G)
        """p(c | x) of the classes in `classes_`, (N, G)."""
        shares: Floats = np.exp(self.predict_log_proba(X))
        return shares

    def predict(self, X: Any) -> NDArray[Any]:  # (N,)
        """The most likely class, (N,)."""
        best = self.predict_log_proba(X).argmax(1)
        classes: NDArray[Any] = self.classes_[best]
        return classes
