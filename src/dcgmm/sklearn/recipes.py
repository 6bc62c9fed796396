"""How the estimators train: what suits images, what suits feature vectors, and small data of both kinds."""

import math
from dataclasses import dataclass
from typing import Any

from dcgmm.model.options import GMMOptions
from dcgmm.model.stack import DCGMM
from dcgmm.training.layer import annealing_rule
from dcgmm.training.options import EPOCHS, TrainerOptions

_DEFAULTS = TrainerOptions()


@dataclass(frozen=True)
class Recipe:
    """Start values, limits and pace of a training.

    Args:
        precision_limit: no component's precision 1 / variance exceeds it; of values in [0, 1].
        precision_sqrt_min: floor of 1 / std.
        steps: a training by default has at least so many.
        centroid_share: share of the epochs, but at least one epoch, in which only centroids adapt.
        logits: factor of the learning rate for the mixture weights.
        window: steps over which annealing averages the objective.
    """

    precision_limit: float
    precision_sqrt_min: float
    steps: int
    centroid_share: float
    logits: float
    window: int

    def gmm_options(self, precision_limit: float | None) -> GMMOptions:
        """Start values and limits of a model's GMM layers; None is the recipe's limit."""
        limit = self.precision_limit if precision_limit is None else float(precision_limit)
        # A low limit keeps room above the floor.
        return GMMOptions(precision_limit=limit, precision_sqrt_min=min(self.precision_sqrt_min, 0.5 * limit**0.5))

    def trainer_options(
        self, model: DCGMM, count: int, epochs: int | None, batch_size: int, learning_rate: float
    ) -> TrainerOptions:
        """How to train a model on `count` samples.

        A batch takes no more than all of them, and annealing gets shorter windows where it could not end by half of
        the steps. Epochs None stands for the library's number, or as many as `steps` takes.
        """
        size = min(batch_size, count)
        per_epoch = count // size
        passes = max(EPOCHS, math.ceil(self.steps / per_epoch)) if epochs is None else epochs
        window = min(self.window, passes * per_epoch // (2 * _windows(model)))
        return TrainerOptions(
            epochs=passes,
            batch_size=size,
            centroid_epochs=max(_DEFAULTS.centroid_epochs, self.centroid_share * passes),
            factor_epochs=_DEFAULTS.factor_epochs * passes / EPOCHS,
            learning_rate=self._rates(model, learning_rate),  # type: ignore[arg-type]  # made into options
            annealing={"alpha": 1 / max(1, window)},  # type: ignore[arg-type]
        )

    def _rates(self, model: DCGMM, rate: float) -> dict[str, Any]:
        rates = _DEFAULTS.learning_rate
        # A model of values in [0, s] with the library's limit is one of values in [0, 1] with s^2 times that limit.
        # With these factors both train alike, and as stably.
        squared_scale = next(iter(model.gmms.values())).options.precision_limit / GMMOptions().precision_limit
        return {
            "start": rate,
            "end": rate * (rates.end / rates.start),
            "logits": self.logits,
            "loc": rates.loc / squared_scale,
            "precision_sqrt": rates.precision_sqrt * squared_scale,
            "factors": rates.factors * squared_scale,
        }


IMAGES = Recipe(
    precision_limit=GMMOptions().precision_limit,
    precision_sqrt_min=GMMOptions().precision_sqrt_min,
    steps=4000,
    centroid_share=_DEFAULTS.centroid_epochs / EPOCHS,
    logits=_DEFAULTS.learning_rate.logits,
    window=_DEFAULTS.annealing.window,
)
# A cluster is often a thirtieth of a feature's range wide, and never wider than half of it. It has found its place
# before its width and weight adapt: else one component soon takes all.
FEATURES = Recipe(precision_limit=1000.0, precision_sqrt_min=1.0, steps=2000, centroid_share=0.3, logits=1.0, window=10)


def _windows(model: DCGMM) -> int:
    """Annealing windows that pass before its end at the soonest."""
    rule = annealing_rule(_DEFAULTS)
    return max(rule.minimal_steps(gmm.components) for gmm in model.gmms.values()) // rule.window
