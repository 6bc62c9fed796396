"""A linear readout: logistic regression on the responsibilities of a model's layers.

Shapes: N images, n of a batch, D features (responsibilities of all components at all positions), G classes.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor

from dcgmm.classification.classifier import Classifier, Labelled, scored_batches
from dcgmm.classification.options import ReadoutOptions
from dcgmm.errors import OptionError
from dcgmm.images import Images
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.options import made

log = logging.getLogger(__name__)

# Responsibilities under it count as 0: most are, and what is left is sparse.
LEAST = 1e-3
# Values of C that are tried, from the strongest regularisation on, while the held-out log loss falls.
GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
TOLERANCE, STEPS = 3e-5, 1000


@dataclass(frozen=True)
class Readout(Classifier):
    """Logistic regression (multinomial) on responsibilities.

    Attributes:
        layers: whose responsibilities it sees.
        C: inverse strength of the regularisation.
        coefficients: (D, G), on the CPU.
        intercept: (G,).

    Examples:
        >>> import dcgmm
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> readout = dcgmm.classification.Readout.fit(model, train.images, train.labels, layers=["gmm1"], C=1.0)
        >>> readout.log_posterior(train.images[:5]).shape
        torch.Size([5, 10])
    """

    layers: tuple[str, ...]
    C: float
    coefficients: Tensor
    intercept: Tensor

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        model: DCGMM,
        images: Images,
        labels: Any,
        options: ReadoutOptions | None = None,
        *,
        seed: int = 0,
        **fields: Any,
    ) -> Self:
        """Fit the regression to training images.

        Args:
            model: trained, one (no batch_shape).
            images: (N, H, W, C) as `as_images` takes them.
            labels: (N,) whole numbers.
            options: how. Where they leave C open, it is chosen by log loss on a tenth of the images, held out while
                it is chosen; where no class has ten images it is 1.
            seed: of the images that are held out.
            fields: of `ReadoutOptions`, instead of those in `options`.

        Raises:
            InputError: images, labels and model do not fit each other, there are fewer than two classes, or an option
                is unknown or out of its range.
        """
        chosen = made(ReadoutOptions, vars(options or ReadoutOptions()) | fields)
        data, layers = Labelled.of(model, images, labels), read_layers(model, chosen.layers)
        features, index, held = _features(model, data.images, layers), data.index.numpy(), data.held_out(seed).numpy()
        regression = LogisticRegression(C=chosen.C or 1.0, tol=TOLERANCE, max_iter=STEPS, warm_start=True)
        if chosen.C is None and held.any():
            regression.C = _best_strength(regression, features, index, held)
        _fit(regression, features, index)
        coefficients, intercept = torch.from_numpy(regression.coef_.T), torch.from_numpy(regression.intercept_)
        if len(data.classes) == 2:  # scikit-learn keeps the second class's logit, the first one's is 0
            coefficients, intercept = (torch.cat([torch.zeros_like(x), x], -1) for x in (coefficients, intercept))
        return cls(model, data.classes, layers, float(regression.C), coefficients, intercept)

    @property
    def description(self) -> dict[str, Any]:
        """The layers, how many responsibilities they have, and the regularisation."""
        return {"layers": list(self.layers), "features": len(self.coefficients), "C": self.C}

    def of_scores(self, scored: Mapping[str, Scored]) -> Tensor:  # (n, G) float64
        """log p(c | x) of the images of a batch that the model has scored."""
        coefficients, intercept = (each.to(self.model.device) for each in (self.coefficients, self.intercept))
        seen = _seen(scored, self.layers).to(coefficients)
        return torch.addmm(intercept, seen, coefficients).double().log_softmax(-1)


def read_layers(model: DCGMM, layers: Sequence[str] | None) -> tuple[str, ...]:
    """The GMM layers that are read out; None is all.

    Raises:
        OptionError: there is no such layer.
    """
    for name in layers or ():
        if name not in model.gmms:
            raise OptionError("layers", f"some of {', '.join(model.gmms)}", name, ReadoutOptions)
    return tuple(layers or model.gmms)


def _seen(scored: Mapping[str, Scored], layers: Sequence[str]) -> Tensor:  # (n, D)
    joined = torch.cat([scored[name].responsibilities.flatten(1) for name in layers], -1)
    return joined.where(joined >= LEAST, 0)


def _features(model: DCGMM, images: Tensor, layers: Sequence[str]) -> csr_matrix:  # (N, H, W, C) -> (N, D)
    parts = [csr_matrix(_seen(scored, layers).cpu().numpy()) for _, scored in scored_batches(model, images)]
    return vstack(parts, format="csr")


def _best_strength(
    regression: LogisticRegression, features: csr_matrix, index: NDArray[np.int64], held: NDArray[np.bool_]
) -> float:
    """The C of `GRID` with the least log loss on held-out images; each fit starts from the one before."""
    fitted, judged = features[~held], features[held]
    losses: list[float] = []
    for regression.C in GRID:
        _fit(regression, fitted, index[~held])
        losses.append(float(log_loss(index[held], regression.predict_proba(judged), labels=regression.classes_)))
        if losses[-1] > min(losses):
            break
    return GRID[int(np.argmin(losses))]


def _fit(regression: LogisticRegression, features: csr_matrix, index: NDArray[np.int64]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        regression.fit(features, index)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        log.warning("the readout is not converged after %d steps at C=%g", STEPS, regression.C)
