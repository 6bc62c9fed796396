"""Training: every GMM layer ascends its own objective by plain SGD, all in the same step (section 3.2.1)."""

import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM, AnnealingRule, AnnealingState, Rates
from dcgmm_cli.model.annealing import grid_distances, smoothing_kernel
from dcgmm_cli.model.patches import Patches
from dcgmm_cli.statistics import to_float

log = logging.getLogger(__name__)


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
        for key, value in {
            "centroid_epochs": self.centroid_epochs,
            "learning_rate.logits": self.logits_factor,
            "learning_rate.loc": self.loc_factor,
            "learning_rate.precision_sqrt": self.precision_sqrt_factor,
        }.items():
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"trainer.{key} must be a number of at least 0, not {value}")


@dataclass(frozen=True)
class LayerReport:
    """A GMM layer at the end of an annealing window."""

    objective: float  # mean smoothed max-component score over the window, nats
    log_likelihood: float  # mean log-likelihood (log-sum-exp) of the window's last batch, after its step; nats
    sigma: float  # smoothing width in grid steps
    learning_rate: float


class Trainer:
    """Trains a model, or models side by side, on images; `step` by step, so that the caller decides when to report,
    save and stop.

    Models side by side share the images and nothing else: each has its own start values, shuffling and annealing,
    and comes out as if it had been trained alone, up to rounding.

    Args:
        model: start values drawn; on its device, with its number type. Trained in place. Its batch_shape is () or (R,).
        images: (N, H, W, C), uint8 or float in [0, 1], on the model's device.
        options: how to train.
        generators: of the shuffling, on the CPU; one for each model.

    Raises:
        UserError: fewer images than one batch takes.
    """

    def __init__(
        self, model: DCGMM, images: Tensor, options: TrainerOptions, generators: Sequence[torch.Generator]
    ) -> None:
        if len(images) < options.batch_size:
            raise UserError(
                f"trainer.batch_size={options.batch_size} is larger than the data: {len(images)} training images"
            )
        assert len(generators) == math.prod(model.batch_shape)
        self.model, self.options = model, options
        self._images, self._dtype = images, model.dtype
        self.steps_per_epoch = len(images) // options.batch_size
        self.total_steps = options.epochs * self.steps_per_epoch
        self._centroid_steps = round(options.centroid_epochs * self.steps_per_epoch)
        self.steps = 0
        self._generators = list(generators)
        self._epoch_starts = [generator.get_state() for generator in generators]
        self._order: Tensor | None = None  # (..., N), of the epoch under way
        self._batch = torch.zeros(*model.batch_shape, options.batch_size, dtype=torch.long, device=images.device)
        self._layers = {name: _LayerTraining(gmm, options) for name, gmm in model.gmms.items()}
        self._graphs = _Graphs(images.device) if images.is_cuda else None

    @property
    def epoch(self) -> float:
        """Epochs done, with the fraction of the one under way."""
        return self.steps / self.steps_per_epoch

    def sigma(self) -> list[dict[str, float]]:
        """Smoothing width that each GMM layer's annealing has come down to, in grid steps; for each model."""
        return _by_model({name: layer.sigma for name, layer in self._layers.items()})

    @torch.no_grad()
    def step(self) -> list[dict[str, LayerReport]] | None:
        """One step of SGD on the next batch; at an annealing window's end what each model's GMM layers have reached.

        Raises:
            UserError: a layer's objective or parameters are NaN or infinite (seen at the end of its window).
        """
        self._batch.copy_(self._next_batch())
        if self.steps == self._centroid_steps:
            for layer in self._layers.values():
                layer.adapt_all()
        if self._graphs is None:
            self._ascend()
        else:
            self._graphs.run(self._ascend, tuple(layer.annealed for layer in self._layers.values()))
        self.steps += 1
        if self.steps % self.options.annealing.window:
            return None
        self._check_finite()
        scored = self.model.score(self._images_of_batch())
        log_likelihoods = {name: layer.log_prob.mean((-3, -2, -1)) for name, layer in scored.items()}
        self._check_finite(log_likelihoods)
        return _by_model({name: self._layers[name].end_window(value) for name, value in log_likelihoods.items()})

    def _check_finite(self, log_likelihoods: Mapping[str, Tensor] | None = None) -> None:
        """Raise a UserError where a layer's objective, parameters or log-likelihood are not."""
        for name, layer in self._layers.items():
            also = [] if log_likelihoods is None else [log_likelihoods[name]]
            if bad := [number for number, finite in enumerate(layer.are_finite(also), start=1) if not finite]:
                which = f" of model {bad[0]} of {len(self._generators)}" if len(self._generators) > 1 else ""
                raise UserError(
                    f"{name}{which}: NaN or infinite log-likelihood or parameters within the "
                    f"{self.options.annealing.window} steps up to step {self.steps}; check the data for such values "
                    "or lower trainer.learning_rate.start"
                )

    def _next_batch(self) -> Tensor:  # (..., B)
        position = self.steps % self.steps_per_epoch
        if position == 0:
            self._epoch_starts = [generator.get_state() for generator in self._generators]
        if position == 0 or self._order is None:
            orders = [torch.randperm(len(self._images), generator=generator) for generator in self._generators]
            self._order = torch.stack(orders).view(*self.model.batch_shape, -1).to(self._images.device)
        size = self.options.batch_size
        return self._order[..., position * size : (position + 1) * size]

    def _images_of_batch(self) -> Tensor:  # (..., B, H, W, C)
        chosen = self._images.index_select(0, self._batch.flatten())
        return to_float(chosen, self._dtype).view(*self._batch.shape, *self._images.shape[1:])

    def _ascend(self) -> None:
        """One step on `_batch`: in place and without a look at any value, so that a CUDA graph can hold it."""
        # No gradient flows between layers: each takes the responsibilities below it as its data.
        self.model.upward(
            self._images_of_batch(), lambda name, _, patches, top: self._layers[name].ascend(patches, passes_on=not top)
        )

    def state_dicts(self) -> list[dict[str, Any]]:
        """All that training goes on from, for each model as if it were trained alone: tensors and built-ins.

        Raises:
            UserError: a layer's objective or parameters are NaN or infinite, so that nothing could go on from here.
        """
        self._check_finite()
        inside = self.steps % self.steps_per_epoch
        models = self.model.alone()
        layers = _by_model({name: layer.state_dicts() for name, layer in self._layers.items()})
        return [
            {
                "model": {name: value.clone() for name, value in model.state_dict().items()},
                "layers": layers[number],
                "steps": self.steps,
                "epoch": self.steps // self.steps_per_epoch,
                "generator": self._epoch_starts[number] if inside else self._generators[number].get_state(),
            }
            for number, model in enumerate(models)
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from what `state_dicts` gave: the next step is the one that would have come."""
        batch_shape = self.model.batch_shape
        parameters = self.model.state_dict()
        stacked = {name: _stack([state["model"][name] for state in states], batch_shape) for name in parameters}
        self.model.load_state_dict(stacked)
        self.steps = states[0]["steps"]
        for name, layer in self._layers.items():
            layer.load_state_dicts([state["layers"][name] for state in states])
            if self.steps > self._centroid_steps:
                layer.adapt_all()
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state["generator"])
        self._epoch_starts = [state["generator"] for state in states]
        self._order = None


class _LayerTraining:
    """A GMM layer's annealing, and the sum over the window under way.

    What a step reads stays in the same tensors from the first step to the last: a CUDA graph holds their addresses.
    """

    def __init__(self, gmm: GMM, options: TrainerOptions) -> None:
        self._gmm, self._options = gmm, options
        self._distances = grid_distances(gmm.components).to(gmm.loc)
        batch_shape = tuple(gmm.logits.shape[:-1])
        self._total = gmm.logits.new_zeros(batch_shape)
        self._factors = (0.0, options.loc_factor, 0.0)  # of the rates, in their order
        self._rates = Rates(*(gmm.logits.new_zeros(batch_shape) for _ in Rates._fields))
        self._kernel = self._distances.new_zeros(*batch_shape, *self._distances.shape)
        self._anneal(options.annealing.start(gmm.components, batch_shape, gmm.loc.dtype).to(gmm.loc.device))

    def _anneal(self, state: AnnealingState) -> None:
        """Take over a new state, and prepare what every step of the coming window needs of it."""
        self._state = state
        # At its floor the kernel is the identity: the plain max-component objective.
        at_floor = state.sigma <= self._options.annealing.sigma_end
        self.annealed = bool(at_floor.all())
        identity = torch.eye(len(self._distances)).to(self._kernel)
        kernel = smoothing_kernel(self._distances, state.sigma)
        self._kernel.copy_(torch.where(at_floor[..., None, None], identity, kernel))
        for rate, factor in zip(self._rates, self._factors, strict=True):
            torch.mul(state.rate, factor, out=rate)

    def adapt_all(self) -> None:
        """End phase 1, in which only centroids adapt."""
        options = self._options
        self._factors = (options.logits_factor, options.loc_factor, options.precision_sqrt_factor)
        self._anneal(self._state)

    @property
    def sigma(self) -> list[float]:
        return _values(self._state.sigma)

    def ascend(self, patches: Patches, *, passes_on: bool) -> Tensor | None:
        kernel = None if self.annealed else self._kernel
        value, responsibilities = self._gmm.step(patches, kernel, self._rates, passes_on=passes_on)
        self._total += value
        return responsibilities

    def are_finite(self, also: Sequence[Tensor] = ()) -> list[bool]:
        """Whether the window's sum, the parameters and other tensors of batch_shape are, for each model."""
        values = (self._total, *self._gmm.parameters(), *also)
        models = self._total.numel()
        return torch.stack([value.reshape(models, -1).isfinite().all(1) for value in values]).all(0).tolist()

    def end_window(self, log_likelihood: Tensor) -> list[LayerReport]:
        average = self._total / self._options.annealing.window
        self._total.zero_()
        columns = (average, log_likelihood, self._state.sigma, self._state.rate)
        reports = [LayerReport(*row) for row in zip(*map(_values, columns), strict=True)]
        self._anneal(self._options.annealing.advance(self._state, average))
        return reports

    def state_dicts(self) -> list[dict[str, Any]]:
        tensors = {name: value.reshape(-1).unbind() for name, value in self._state.tensors().items()}
        return [
            {
                "annealing": {name: values[number].clone() for name, values in tensors.items()}
                | {"windows": self._state.windows},
                "total": total.clone(),
            }
            for number, total in enumerate(self._total.reshape(-1))
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        batch_shape, annealing = tuple(self._total.shape), [state["annealing"] for state in states]
        tensors = {name: _stack([each[name] for each in annealing], batch_shape) for name in self._state.tensors()}
        self._anneal(AnnealingState(**tensors, windows=annealing[0]["windows"]).to(self._total.device))
        self._total.copy_(_stack([state["total"] for state in states], batch_shape))


class _Graphs:
    """Runs steps as CUDA graphs: a step is some hundred small kernels, and launching them costs more than they do.

    A graph holds the launches of one step. A step of another key is another sequence of launches.
    """

    _WARM_UP = 3  # steps that libraries need to set themselves up in, before a capture

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._key: Hashable = None
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._capture = True

    def run(self, step: Callable[[], None], key: Hashable) -> None:
        if key != self._key:
            self._key, self._steps, self._graph = key, 0, None
        self._steps += 1
        if self._graph is None and self._capture and self._steps > self._WARM_UP:
            self._graph = self._captured(step)
        if self._graph is None:
            step()
        else:
            self._graph.replay()

    def _captured(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        device = self._device
        try:
            # A capture is of one device's stream, by default the current device's, whatever the step works on. And one
            # that fails does not give the stream back that it took: the stream around it does.
            with (
                torch.cuda.device(device),
                torch.cuda.stream(torch.cuda.current_stream(device)),
                torch.cuda.graph(graph, stream=torch.cuda.Stream(device)),
            ):
                step()
        except RuntimeError as error:
            self._capture = False
            log.warning("no CUDA graph of the training step, which is slower without: %s", str(error).splitlines()[0])
            return None
        return graph


T = TypeVar("T")


def _by_model(columns: dict[str, list[T]]) -> list[dict[str, T]]:
    """A dictionary for each model, of a dictionary of lists over the models."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(tensor: Tensor) -> list[float]:
    """Numbers of a tensor of batch_shape, one for each model."""
    return [float(value) for value in tensor.reshape(-1).tolist()]


def _stack(values: Sequence[Tensor], batch_shape: tuple[int, ...]) -> Tensor:  # (*S) each -> (*batch_shape, *S)
    return torch.stack(list(values)).view((*batch_shape, *values[0].shape))
