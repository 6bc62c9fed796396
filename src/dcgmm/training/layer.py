"""One GMM layer in training: its annealing, its rates, and the objective over the window under way."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.model import fused
from dcgmm.model.annealing import AnnealingRule, AnnealingState, ring_distances, smoothing_kernel
from dcgmm.model.factor_gmm import FactorGMM
from dcgmm.model.gmm import GMM
from dcgmm.model.patches import Patches
from dcgmm.model.scored import Rates, Sums
from dcgmm.training.options import TrainerOptions

# The learning rate is that of a layer of up to so many components. One of K wins 1 / K of the points, and takes steps
# in proportion to that: at a rate in proportion to K it learns as fast, however many they are.
REFERENCE = 25

log = logging.getLogger(__name__)

MEASURES, FINITE = 6, 4  # rows of what `LayerTraining.end_window` measures, and the one that says if all is finite


def annealing_rule(options: TrainerOptions) -> AnnealingRule:
    """The rule for sigma and the learning rate."""
    annealing, rate = options.annealing, options.learning_rate
    return AnnealingRule(annealing.window, annealing.sigma_end, rate.start, rate.end, annealing.delta, annealing.gamma)


def tell_what_is_slower(layers: Mapping[str, GMM], alone: bool) -> None:
    """Which GMM layers a GPU trains without fused passes, and why, into the log.

    Args:
        layers: by name.
        alone: whether one process trains them.
    """
    for name, gmm in layers.items():
        if not (gmm.loc.is_cuda and fused.available(gmm.loc.device)):  # if there are none at all, that was told
            continue
        why = fused.why_not(gmm.components, gmm.loc) if alone else "several processes do it"
        if why is None and isinstance(gmm, FactorGMM):
            why = "from where it has factors"
        if why is not None:
            log.info("%s is trained without fused passes, which is slower: %s", name, why)


@dataclass(frozen=True)
class LayerReport:
    """A GMM layer at the end of an annealing window.

    Attributes:
        objective: mean smoothed max-component score over the window, nats.
        log_likelihood: mean log-likelihood (log-sum-exp) of the window's last batch, after its step; nats.
        sigma: smoothing width in grid steps.
        learning_rate: eps.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> first, last = dcgmm.fit(model, train.images, steps=20, annealing={"alpha": 0.1}).layers["gmm1"]
        >>> first.log_likelihood < last.log_likelihood, round(first.sigma, 3)
        (True, 1.768)
    """

    objective: float
    log_likelihood: float
    sigma: float
    learning_rate: float


class LayerTraining:
    """A GMM layer's annealing, and the sum over the window under way.

    Where each position has parameters of its own it anneals at its own pace, as models side by side do: (H, W) ends
    the leading shape of all that is kept here, and each model is told of in the mean over its positions.

    What a step reads stays in the same tensors from the first step to the last: a CUDA graph holds their addresses.
    """

    def __init__(self, gmm: GMM, options: TrainerOptions, steps_per_epoch: int, seeds: Callable[[], list[int]]) -> None:
        self._gmm, self._options, self._rule, self._seeds = gmm, options, annealing_rule(options), seeds
        self._held_steps = round(options.factor_epochs * steps_per_epoch)
        self._distances = ring_distances(gmm.components).to(gmm.loc)
        batch_shape = tuple(gmm.logits.shape[:-1])
        self._batch_shape = batch_shape[: len(batch_shape) - len(gmm.own_shape)]  # that of the model
        self._windows_of_factors = [0] * math.prod(batch_shape)  # that have ended since each model has them
        self._held = torch.zeros(batch_shape, dtype=torch.bool, device=gmm.loc.device)
        self._total = gmm.logits.new_zeros(batch_shape)
        self._factors = gmm.logits.new_zeros(len(Rates._fields))  # of the rates, in their order
        self._all_rates = gmm.logits.new_zeros(len(Rates._fields), *batch_shape)
        self._rates = Rates(*self._all_rates)
        self._kernel = self._distances.new_zeros(*batch_shape, *self._distances.shape)
        self._identity = torch.eye(len(self._distances), dtype=self._kernel.dtype, device=self._kernel.device)
        self._state = self._rule.start(gmm.components, batch_shape, gmm.loc.dtype).to(gmm.loc.device)
        self.adapt(everything=False)

    def adapt(self, *, everything: bool) -> None:
        """Go on in phase 1, in which only centroids adapt, or behind it."""
        given, self._all_adapt = self._options.learning_rate, everything
        all_rates = (given.logits, given.loc, given.precision_sqrt, given.factors)
        factors = torch.tensor(all_rates if everything else (0.0, given.loc, 0.0, 0.0), dtype=torch.float64)
        # On the device: a graph keeps the numbers that it was given.
        self._factors.copy_(factors * max(1.0, self._gmm.components / REFERENCE))
        self._anneal()

    def _anneal(self) -> None:
        """All that the steps of the coming window need of the state."""
        self._begin(self._prepare().tolist())

    def _prepare(self) -> Tensor:  # (models,)
        """What a step reads: in place, without a look at any value. Returns which models are annealed."""
        # At its floor the kernel is the identity: the plain max-component objective.
        at_floor = self._is_at_floor()
        kernel = smoothing_kernel(self._distances, self._state.sigma)
        self._kernel.copy_(torch.where(at_floor.view(self._total.shape)[..., None, None], self._identity, kernel))
        factors = self._factors.view(-1, *[1] * self._total.dim())
        torch.mul(self._state.rate, factors, out=self._all_rates)
        return at_floor

    def _is_at_floor(self) -> Tensor:  # (models,), (models H W,)
        return (self._state.sigma <= self._rule.sigma_end).reshape(-1)

    def _begin(self, at_floor: list[bool]) -> None:
        """What a step is made of, by which models are annealed."""
        self._at_floor, self.annealed = at_floor, all(at_floor)
        if isinstance(self._gmm, FactorGMM):
            self._train_factors(self._gmm, [annealed and self._all_adapt for annealed in at_floor])

    def _train_factors(self, gmm: FactorGMM, with_factors: list[bool]) -> None:
        """Give factors to the models that are annealed, and hold points where they are while these are young.

        A component that fits its points better sooner would else take those of others before their factors fit.
        """
        if any(with_factors):
            seeds = [seed for seed in self._seeds() for _ in range(math.prod(gmm.own_shape))]
            gmm.begin_factors(torch.tensor(with_factors).view(self._held.shape).to(self._held.device), seeds)
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

    @property
    def sigma(self) -> list[float]:
        """Smoothing width that annealing has come down to, in grid steps; for each model."""
        return self._means(self._state.sigma).tolist()

    def ascend(self, patches: Patches, *, passes_on: bool) -> Tensor | None:
        """One step on a batch; returns the responsibilities where the layer passes them on."""
        given = (patches, self._kernel_now, self._rates)
        if isinstance(self._gmm, FactorGMM):
            return self._gmm.step(*given, passes_on=passes_on, total=self._total, projects=not self._settles)[1]
        return self._gmm.step(*given, passes_on=passes_on, total=self._total)[1]

    @property
    def _settles(self) -> bool:
        return isinstance(self._gmm, FactorGMM) and self._gmm.has_factors and self._gmm.loc.device.type != "cpu"

    def settle(self) -> None:
        """What `ascend` leaves to be done that no graph can hold: on a GPU, the projection of the factors."""
        if isinstance(self._gmm, FactorGMM) and self._settles:
            self._gmm.project()

    def sums(self, patches: Patches, *, passes_on: bool) -> tuple[Sums, Tensor | None]:
        """The first half of `ascend`: what `update` needs to know of a batch, and the responsibilities."""
        return self._gmm.sums(patches, self._kernel_now, passes_on=passes_on)

    def update(self, sums: Sums, points: int) -> None:
        """The second half: a step by the sums over so many points."""
        self._gmm.update(sums, points, self._kernel_now, self._rates)
        self._total += sums.objective

    @property
    def _kernel_now(self) -> Tensor | None:
        return None if self.annealed else self._kernel

    def finite(self, also: Sequence[Tensor] = ()) -> Tensor:  # (models,)
        """Whether the window's sum, the parameters and other tensors of batch_shape are, for each model."""
        values = (self._total, *self._gmm.parameters(), *also)
        models = math.prod(self._batch_shape)
        largest = [torch.linalg.vector_norm(value.reshape(models, -1), math.inf, dim=1) for value in values]
        return torch.stack(largest).isfinite().all(0)

    def end_window(self, log_likelihood: Tensor) -> Tensor:  # (...) -> (MEASURES, models)
        """Anneal by the window's mean objective: in place, without a look at any value, so that a graph can hold it.

        Args:
            log_likelihood: mean over the window's last batch, after its step.

        Returns:
            The fields of a `LayerReport`, and whether all is finite, as they were; whether the model is annealed now.
        """
        average = self._total / self._rule.window
        finite = self.finite([log_likelihood]).to(average.dtype)
        objective, sigma, rate = self._means(torch.stack([average, self._state.sigma, self._state.rate]), 1)
        before = (objective, self._means(log_likelihood), sigma, rate, finite)
        self._total.zero_()
        # How many windows have ended is for `begin_window` to count: no replayed graph does.
        self._take(replace(self._rule.advance(self._state, average), windows=self._state.windows))
        return torch.stack([*before, self._means(self._prepare().to(finite.dtype))])

    def begin_window(self, measured: list[list[float]]) -> list[LayerReport]:  # (MEASURES, models)
        """Take in what `end_window` has measured; returns where each model stood."""
        *columns, _, annealed = measured
        self._state = replace(self._state, windows=self._state.windows + 1)
        self._windows_of_factors = [
            windows + int(at_floor and self._all_adapt)
            for windows, at_floor in zip(self._windows_of_factors, self._at_floor, strict=True)
        ]
        # What was measured says only how many positions are annealed, not which.
        apart = None if self._gmm.shared else self._is_at_floor().tolist()
        self._begin(apart or [value > 0 for value in annealed])
        return [LayerReport(*row) for row in zip(*columns, strict=True)]

    def _take(self, state: AnnealingState) -> None:
        """Take over a state, into the tensors that are there."""
        mine = self._state.tensors()
        for name, value in state.tensors().items():
            mine[name].copy_(value)
        self._state = replace(self._state, windows=state.windows)

    def state_dicts(self) -> list[dict[str, Any]]:
        """All that a layer's training goes on from, for each model."""
        own = {
            "total": self._total,
            "windows_of_factors": torch.tensor(self._windows_of_factors).view(self._total.shape),
            "logits": self._gmm.logits.detach(),  # as trained: the model's may follow use by then
        }
        annealing, others = self._alone(self._state.tensors()), self._alone(own)
        windows = {"windows": self._state.windows}
        return [{"annealing": one | windows} | other for one, other in zip(annealing, others, strict=True)]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from what `state_dicts` gave.

        Raises:
            InputError: its values are not finite, or of another shape.
        """
        for state, own in zip(states, self.state_dicts(), strict=True):
            _check(state, own)
        annealing = [state["annealing"] for state in states]
        tensors = {name: self._together(annealing, name) for name in self._state.tensors()}
        self._windows_of_factors = self._together(states, "windows_of_factors").reshape(-1).tolist()
        self._take(AnnealingState(**tensors, windows=annealing[0]["windows"]))
        self._anneal()
        self._total.copy_(self._together(states, "total"))
        with torch.no_grad():
            self._gmm.logits.copy_(self._together(states, "logits"))

    def _means(self, values: Tensor, first: int = 0) -> Tensor:  # (*S, ...) -> (*S, models), S of so many dimensions
        """Numbers of each model, mean over its positions where each has one."""
        return values.reshape(*values.shape[:first], math.prod(self._batch_shape), -1).mean(-1)

    def _alone(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:  # (..., *S) -> (*S)
        """Tensors of all models, for each."""
        models, first = math.prod(self._batch_shape), len(self._batch_shape)
        flat = {name: value.reshape(models, *value.shape[first:]) for name, value in tensors.items()}
        return [{name: value[number].clone() for name, value in flat.items()} for number in range(models)]

    def _together(self, states: Sequence[dict[str, Any]], name: str) -> Tensor:  # (*S) each -> (..., *S)
        """A tensor of all models, of those of each."""
        values = torch.stack([torch.as_tensor(state[name]) for state in states])
        return values.view((*self._batch_shape, *values.shape[1:]))


def _check(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Compare a layer's state with what its training has.

    Raises:
        InputError: a value is of another shape, not finite, or cannot be.
    """
    annealing = state["annealing"]
    if type(annealing["windows"]) is not int or annealing["windows"] < 0:
        raise InputError(f"{annealing['windows']} windows of a layer's annealing, not a whole number of at least 0")
    pairs = {name: (annealing[name], like) for name, like in own["annealing"].items() if name != "windows"}
    pairs |= {name: (state[name], like) for name, like in own.items() if name != "annealing"}
    given = {name: torch.as_tensor(value) for name, (value, _) in pairs.items()}
    for name, (_, like) in pairs.items():
        if given[name].shape != like.shape:
            raise InputError(
                f"{name} of shape {list(given[name].shape)} in a layer's annealing, not {list(like.shape)}"
            )
    for name, bound in {"sigma": 0.0, "rate": 0.0, "total": -math.inf, "logits": -math.inf}.items():
        if len(bad := given[name][~(given[name].isfinite() & (given[name] > bound))]):
            raise InputError(f"{name} in a layer's annealing must be finite and above {bound:g}, not {bad[0]:g}")
