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
        model, images, labels, seed: as for `GenerativeClassifier.fit`, `Readout.fit`.
        method: generative or readout.
        fields: of `GenerativeOptions` or `ReadoutOptions`.

    Raises:
        InputError: there is no such method, or as these raise it.
    """
    if method not in list(Method):
        raise OptionError("method", f"one of {', '.join(Method)}", method)
    kind = GenerativeClassifier if method == Method.generative else Readout
    return kind.fit(model, images, labels, seed=seed, **fields)
