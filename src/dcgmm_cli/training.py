"""Training: every GMM layer ascends its own objective by plain SGD, all in the same step (section 3.2.1)."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM, AnnealingRule, AnnealingState, Rates, Scored
from dcgmm_cli.model.annealing import grid_distances, smoothing_kernel
from dcgmm_cli.statistics import to_float


@dataclass(frozen=True)
class TrainerOptions:
    """How a model is trained.

    Args:
        epochs: passes over the images.
        batch_size: images a step; what is left over at an epoch's end waits for the next shuffle.
        centroid_epochs: length of phase 1, in which only centroids adapt.
        annealing: the rule for sigma and the learning rate.
        logits_factor, loc_factor, precision_sqrt_factor: learning rates are the annealed rate times these.

    Raises:
        UserError: a value is out of its range.
    """

    epochs: int
    batch_size: int
    centroid_epochs: float
    annealing: AnnealingRule
    logits_factor: float
    loc_factor: float
    precision_sqrt_factor: float

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"trainer.epochs must be at least 1, not {self.epochs}")
        if self.batch_size < 1:
            raise UserError(f"trainer.batch_size must be at least 1, not {self.batch_size}")
        for name in ("centroid_epochs", "logits_factor", "loc_factor", "precision_sqrt_factor"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"trainer: {name} must be a number of at least 0, not {value}")


@dataclass(frozen=True)
class LayerReport:
    """A GMM layer at the end of an annealing window."""

    objective: float  # mean smoothed max-component score over the window, nats
    log_likelihood: float  # mean log-likelihood (log-sum-exp) of the window's last batch, nats
    sigma: float  # smoothing width in grid steps
    learning_rate: float


class Trainer:
    """Trains a model on images; `step` by step, so that the caller decides when to report, save and stop.

    Args:
        model: start values drawn; on its device, with its number type. Trained in place.
        images: (N, H, W, C), uint8 or float in [0, 1], on the model's device.
        options: how to train.
        generator: of the shuffling, on the CPU.

    Raises:
        UserError: fewer images than one batch takes, or several models side by side.
    """

    def __init__(self, model: DCGMM, images: Tensor, options: TrainerOptions, generator: torch.Generator) -> None:
        if model.batch_shape:
            raise UserError(f"a trainer takes one model, this one holds {list(model.batch_shape)} side by side")
        if len(images) < options.batch_size:
            raise UserError(
                f"trainer.batch_size={options.batch_size} is larger than the data: {len(images)} training images"
            )
        self.model, self.options = model, options
        self._images = images
        self._device = images.device
        self.steps_per_epoch = len(images) // options.batch_size
        self.total_steps = options.epochs * self.steps_per_epoch
        self._centroid_steps = round(options.centroid_epochs * self.steps_per_epoch)
        self.steps = 0
        self._generator = generator
        self._epoch_start = self._generator.get_state()
        self._order = torch.empty(0, dtype=torch.long)
        self._layers = {name: _LayerTraining(gmm, options) for name, gmm in model.gmms.items()}

    @property
    def epoch(self) -> float:
        """Epochs done, with the fraction of the one under way."""
        return self.steps / self.steps_per_epoch

    def sigma(self) -> dict[str, float]:
        """Smoothing width that each GMM layer's annealing has come down to, in grid steps."""
        return {name: layer.sigma for name, layer in self._layers.items()}

    @torch.no_grad()
    def step(self) -> dict[str, LayerReport] | None:
        """One step of SGD on the next batch; at the end of an annealing window what each GMM layer has reached.

        Raises:
            UserError: a layer's objective or parameters are NaN or infinite (seen at the end of its window).
        """
        batch = to_float(self._images.index_select(0, self._next_batch()), self.model.dtype)
        self._ascend(batch)
        self.steps += 1
        if self.steps % self.options.annealing.window:
            return None
        self._check_finite()
        return {name: layer.end_window() for name, layer in self._layers.items()}

    def _check_finite(self) -> None:
        for name, layer in self._layers.items():
            if not layer.is_finite():
                raise UserError(
                    f"{name}: NaN or infinite log-likelihood or parameters within the "
                    f"{self.options.annealing.window} steps up to step {self.steps}; check the data for such values "
                    "or lower trainer.learning_rate.start"
                )

    def _next_batch(self) -> Tensor:
        position = self.steps % self.steps_per_epoch
        if position == 0 or len(self._order) == 0:
            if position == 0:
                self._epoch_start = self._generator.get_state()
            self._order = torch.randperm(len(self._images), generator=self._generator).to(self._device)
        size = self.options.batch_size
        return self._order[position * size : (position + 1) * size]

    def _ascend(self, x: Tensor) -> None:
        only_centroids = self.steps < self._centroid_steps
        # No gradient flows between layers: each takes the responsibilities below it as its data.
        for name, scored in self.model.score_upward(x):
            self._layers[name].ascend(scored, only_centroids)

    def state_dict(self) -> dict[str, Any]:
        """All that training goes on from: tensors and built-ins.

        Raises:
            UserError: a layer's objective or parameters are NaN or infinite, so that nothing could go on from here.
        """
        self._check_finite()
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "layers": {name: layer.state_dict() for name, layer in self._layers.items()},
            "steps": self.steps,
            "epoch": self.steps // self.steps_per_epoch,
            "generator": self._epoch_start if self.steps % self.steps_per_epoch else self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave: the next step is the one that would have come."""
        self.model.load_state_dict(state["model"])
        for name, layer in self._layers.items():
            layer.load_state_dict(state["layers"][name])
        self.steps = state["steps"]
        self._generator.set_state(state["generator"])
        self._epoch_start = state["generator"]
        self._order = torch.empty(0, dtype=torch.long)


class _LayerTraining:
    """A GMM layer's annealing, and the sums over the window under way."""

    def __init__(self, gmm: GMM, options: TrainerOptions) -> None:
        self._gmm, self._options = gmm, options
        self._distances = grid_distances(gmm.components).to(gmm.loc)
        self._total = gmm.logits.new_zeros(gmm.logits.shape[:-1])
        self._in_window = 0
        self._log_likelihood = self._total
        state = options.annealing.start(gmm.components, tuple(gmm.logits.shape[:-1]), gmm.loc.dtype)
        self._anneal(_to_device(state, gmm.loc.device))

    def _anneal(self, state: AnnealingState) -> None:
        """Take over a new state, and prepare what every step of the coming window needs of it."""
        self._state = state
        annealed = bool((state.sigma <= self._options.annealing.sigma_end).all())
        # At its floor the kernel is the identity: the plain max-component objective.
        self._kernel = None if annealed else smoothing_kernel(self._distances, state.sigma)
        options, rate = self._options, state.rate
        self._rates = Rates(
            rate * options.logits_factor, rate * options.loc_factor, rate * options.precision_sqrt_factor
        )
        self._centroid_rates = self._rates._replace(logits=0 * rate, precision_sqrt=0 * rate)

    @property
    def sigma(self) -> float:
        return float(self._state.sigma)

    def ascend(self, scored: Scored, only_centroids: bool) -> None:
        value, gradient = self._gmm.objective(scored, self._kernel)
        self._gmm.ascend(gradient, self._centroid_rates if only_centroids else self._rates)
        self._total = self._total + value
        self._in_window += 1
        if self._in_window == self._options.annealing.window:
            self._log_likelihood = scored.log_prob.mean((-3, -2, -1))

    def is_finite(self) -> bool:
        return all(bool(value.isfinite().all()) for value in (self._total, *self._gmm.parameters()))

    def end_window(self) -> LayerReport:
        average = self._total / self._in_window
        self._total, self._in_window = torch.zeros_like(self._total), 0
        sigma, rate = float(self._state.sigma), float(self._state.rate)
        self._anneal(self._options.annealing.advance(self._state, average))
        return LayerReport(float(average), float(self._log_likelihood), sigma, rate)

    def state_dict(self) -> dict[str, Any]:
        return {"annealing": asdict(self._state), "total": self._total, "in_window": self._in_window}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self._gmm.loc.device
        self._anneal(_to_device(AnnealingState(**state["annealing"]), device))
        self._total, self._in_window = state["total"].to(device), state["in_window"]


def _to_device(state: AnnealingState, device: torch.device) -> AnnealingState:
    return AnnealingState(
        sigma=state.sigma.to(device),
        rate=state.rate.to(device),
        first=state.first.to(device),
        last=state.last.to(device),
        windows=state.windows,
    )
