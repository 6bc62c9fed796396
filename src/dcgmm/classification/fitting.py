"""`fit_classifier`: a classifier by the name of its method."""

from typing import Any

from dcgmm.classification.classifier import Classifier
from dcgmm.classification.generative import GenerativeClassifier
from dcgmm.classification.options import Method
from dcgmm.classification.readout import Readout
from dcgmm.errors import OptionError
from dcgmm.images import Images
from dcgmm.model.stack import DCGMM


def fit_classifier(
    model: DCGMM, images: Images, labels: Any, method: Method | str = "generative", *, seed: int = 0, **fields: Any
) -> Classifier:
    """A classifier of a model's images, fitted to labelled ones.

    Args:
        model: trained, one (no batch_shape).
        images: (N, H, W, C) as `as_images` takes them.
        labels: (N,) whole numbers.
        method: generative or readout.
        seed: of the images that are held out, by which what is left open is chosen.
        fields: of `GenerativeOptions` or `ReadoutOptions`.

    Raises:
        InputError: there is no such method, images, labels and model do not fit each other, there are fewer than two
            classes, or an option is unknown or out of its range.

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> classifier = dcgmm.classification.fit_classifier(model, train.images, train.labels, "readout", C=1.0)
        >>> classifier.description
        {'layers': ['gmm1', 'gmm2'], 'features': 436, 'C': 1.0}
    """
    if method not in list(Method):
        raise OptionError("method", f"one of {', '.join(Method)}", method)
    kind = GenerativeClassifier if method == Method.generative else Readout
    return kind.fit(model, images, labels, seed=seed, **fields)
