"""One GMM layer in training: its annealing, its rates, and the objective over the window under way."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dcgmm.model.annealing import AnnealingRule, AnnealingState, ring_distances, smoothing_kernel
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.gmm import GMM, Rates
from dcgmm.model.patches import Patches
from dcgmm.training.options import TrainerOptions

# The learning rate is that of a layer of up to so many components. One of K wins 1 / K of the points, and takes steps
# in proportion to that: at a rate in proportion to K it learns as fast, however many they are.
REFERENCE = 25

MEASURES, FINITE = 6, 4  # rows of what `LayerTraining.end_window` measures, and the one that says if all is finite


def annealing_rule(options: TrainerOptions) -> AnnealingRule:
    """The rule for sigma and the learning rate."""
    annealing, rate = options.annealing, options.learning_rate
    return AnnealingRule(annealing.window, annealing.sigma_end, rate.start, rate.end, annealing.delta, annealing.gamma)


@dataclass(frozen=True)
class LayerReport:
    """A GMM layer at the end of an annealing window."""

    objective: float  # mean smoothed max-component score over the window, nats
    log_likelihood: float  # mean log-likelihood (log-sum-exp) of the window's last batch, after its step; nats
    sigma: float  # smoothing width in grid steps
    learning_rate: float


class LayerTraining:
    """A GMM layer's annealing, and the sum over the window under way.

    What a step reads stays in the same tensors from the first step to the last: a CUDA graph holds their addresses.
    """

    def __init__(self, gmm: GMM, options: TrainerOptions, steps_per_epoch: int, seeds: Callable[[], list[int]]) -> None:
        self._gmm, self._options, self._rule, self._seeds = gmm, options, annealing_rule(options), seeds
        self._held_steps = round(options.factor_epochs * steps_per_epoch)
        self._distances = ring_distances(gmm.components).to(gmm.loc)
        batch_shape = tuple(gmm.logits.shape[:-1])
        self._all_adapt = False  # phase 1 is over
        self._windows_of_factors = [0] * math.prod(batch_shape)  # that have ended since each model has them
        self._held = torch.zeros(batch_shape, dtype=torch.bool, device=gmm.loc.device)
        self._total = gmm.logits.new_zeros(batch_shape)
        self._factors = (0.0, options.learning_rate.loc, 0.0, 0.0)  # of the rates, in their order
        self._rates = Rates(*(gmm.logits.new_zeros(batch_shape) for _ in Rates._fields))
        self._kernel = self._distances.new_zeros(*batch_shape, *self._distances.shape)
        self._identity = torch.eye(len(self._distances)).to(self._kernel)
        self._state = self._rule.start(gmm.components, batch_shape, gmm.loc.dtype).to(gmm.loc.device)
        self._anneal()

    def _anneal(self) -> None:
        """All that the steps of the coming window need of the state."""
        self._settle(self._prepare().tolist())

    def _prepare(self) -> Tensor:  # (models,)
        """What a step reads: in place, without a look at any value. Returns which models are annealed."""
        # At its floor the kernel is the identity: the plain max-component objective.
        at_floor = self._state.sigma <= self._rule.sigma_end
        kernel = smoothing_kernel(self._distances, self._state.sigma)
        self._kernel.copy_(torch.where(at_floor[..., None, None], self._identity, kernel))
        for rate, factor in zip(self._rates, self._factors, strict=True):
            torch.mul(self._state.rate, factor * max(1.0, self._gmm.components / REFERENCE), out=rate)
        return at_floor.reshape(-1)

    def _settle(self, at_floor: list[bool]) -> None:
        """What a step is made of, by which models are annealed."""
        self._at_floor, self.annealed = at_floor, all(at_floor)
        if isinstance(self._gmm, FactorGMM):
            self._train_factors(self._gmm, [annealed and self._all_adapt for annealed in at_floor])

    def _train_factors(self, gmm: FactorGMM, with_factors: list[bool]) -> None:
        """Give factors to the models that are annealed, and hold points where they are while these are young.

        A component that fits its points better sooner would else take those of others before their factors fit.
        """
        if any(with_factors):
            gmm.begin_factors(torch.tensor(with_factors).view(self._held.shape).to(self._held.device), self._seeds())
        held = [
            given and windows * self._rule.window < self._held_steps
            for given, windows in zip(with_factors, self._windows_of_factors, strict=True)
        ]
        self._held.copy_(torch.tensor(held).view(self._held.shape))
        gmm.held = self._held if any(held) else None

    @property
    def phase(self) -> tuple[bool, bool, bool]:
        """What decides which operations a step is made of."""
        gmm = self._gmm
        factors = (gmm.has_factors, gmm.held is not None) if isinstance(gmm, FactorGMM) else (False, False)
        return (self.annealed, *factors)

    def adapt_all(self) -> None:
        """End phase 1, in which only centroids adapt."""
        rates = self._options.learning_rate
        self._factors = (rates.logits, rates.loc, rates.precision_sqrt, rates.factors)
        self._all_adapt = True
        self._anneal()

    @property
    def sigma(self) -> list[float]:
        """Smoothing width that annealing has come down to, in grid steps; for each model."""
        return per_model(self._state.sigma)

    def ascend(self, patches: Patches, *, passes_on: bool) -> Tensor | None:
        """One step on a batch; returns the responsibilities where the layer passes them on."""
        kernel = None if self.annealed else self._kernel
        value, responsibilities = self._gmm.step(patches, kernel, self._rates, passes_on=passes_on)
        self._total += value
        return responsibilities

    def finite(self, also: Sequence[Tensor] = ()) -> Tensor:  # (models,)
        """Whether the window's sum, the parameters and other tensors of batch_shape are, for each model."""
        values = (self._total, *self._gmm.parameters(), *also)
        models = self._total.numel()
        return torch.stack([value.reshape(models, -1).isfinite().all(1) for value in values]).all(0)

    def end_window(self, log_likelihood: Tensor) -> Tensor:  # (...) -> (MEASURES, models)
        """Anneal by the window's mean objective: in place, without a look at any value, so that a graph can hold it.

        Args:
            log_likelihood: mean over the window's last batch, after its step.

        Returns:
            The fields of a `LayerReport`, and whether all is finite, as they were; whether the model is annealed now.
        """
        average = self._total / self._rule.window
        finite = self.finite([log_likelihood]).to(average.dtype)
        columns = (average, log_likelihood, self._state.sigma, self._state.rate)
        before = torch.stack([*(column.reshape(-1) for column in columns), finite])
        self._total.zero_()
        self._take(self._rule.advance(self._state, average))
        return torch.cat([before, self._prepare().to(before.dtype).unsqueeze(0)])

    def begin_window(self, measured: list[list[float]]) -> list[LayerReport]:  # (MEASURES, models)
        """Take in what `end_window` has measured; returns where each model stood."""
        *columns, _, annealed = measured
        self._windows_of_factors = [
            windows + int(at_floor and self._all_adapt)
            for windows, at_floor in zip(self._windows_of_factors, self._at_floor, strict=True)
        ]
        self._settle([value > 0 for value in annealed])
        return [LayerReport(*row) for row in zip(*columns, strict=True)]

    def _take(self, state: AnnealingState) -> None:
        """Take over a state, into the tensors that are there."""
        mine = self._state.tensors()
        for name, value in state.tensors().items():
            mine[name].copy_(value)
        self._state = replace(self._state, windows=state.windows)

    def state_dicts(self) -> list[dict[str, Any]]:
        """All that a layer's training goes on from, for each model."""
        tensors = {name: value.reshape(-1).unbind() for name, value in self._state.tensors().items()}
        return [
            {
                "annealing": {name: values[number].clone() for name, values in tensors.items()}
                | {"windows": self._state.windows},
                "total": total.clone(),
                "windows_of_factors": self._windows_of_factors[number],
                "logits": logits.clone(),  # as trained: the model's may follow use by then
            }
            for number, (total, logits) in enumerate(
                zip(self._total.reshape(-1), self._gmm.logits.detach().reshape(-1, self._gmm.components), strict=True)
            )
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from what `state_dicts` gave."""
        batch_shape, annealing = tuple(self._total.shape), [state["annealing"] for state in states]
        tensors = {name: stacked([each[name] for each in annealing], batch_shape) for name in self._state.tensors()}
        self._windows_of_factors = [state["windows_of_factors"] for state in states]
        self._take(AnnealingState(**tensors, windows=annealing[0]["windows"]))
        self._anneal()
        self._total.copy_(stacked([state["total"] for state in states], batch_shape))
        with torch.no_grad():
            self._gmm.logits.copy_(stacked([state["logits"] for state in states], batch_shape))


def per_model(tensor: Tensor) -> list[float]:
    """Numbers of a tensor of batch_shape, one for each model."""
    return [float(value) for value in tensor.reshape(-1).tolist()]


def stacked(values: Sequence[Tensor], batch_shape: tuple[int, ...]) -> Tensor:  # (*S) each -> (*batch_shape, *S)
    """Tensors of all models as one."""
    return torch.stack(list(values)).view((*batch_shape, *values[0].shape))
