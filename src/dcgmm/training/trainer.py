"""Training: every GMM layer ascends its own objective by plain SGD, all in the same step (section 3.2.1)."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from dcgmm.distributed import Processes, digest
from dcgmm.errors import InputError, OptionError
from dcgmm.graphs import Graphs
from dcgmm.images import Images, as_images
from dcgmm.model.gmm import GMM
from dcgmm.model.options import MOST_PRECISE, GMMOptions
from dcgmm.model.patches import Patches
from dcgmm.model.scored import Sums
from dcgmm.model.stack import DCGMM
from dcgmm.runtime import require_memory
from dcgmm.training.batches import Batches
from dcgmm.training.layer import FINITE, MEASURES, LayerReport, LayerTraining, annealing_rule, tell_what_is_slower
from dcgmm.training.options import ANNEALINGS, EPOCHS, TrainerOptions
from dcgmm.training.tiles import model_of_tiles

WORKING = 6  # times the bytes of the parameters: coefficients, sums and checkpoints of a training, as measured
T = TypeVar("T")


class Trainer:
    """Trains a model, or models side by side, on images; `step` by step, so that the caller decides when to report,
    save and stop.

    Models side by side share the images and nothing else: each has its own start values, shuffling and annealing,
    and comes out as if it had been trained alone, up to rounding.

    Args:
        model: start values drawn; on its device, with its number type. Trained in place. Its batch_shape is () or (R,).
        images: (N, H, W, C), uint8 or float in [0, 1].
        options: how to train.
        generators: of the shuffling, on the CPU; one for each model.
        processes: that train it together, each on its part of every batch: what they get is what one gets by itself,
            up to rounding. All must be given the same. None: those of `torch.distributed`'s default group, if any.

    Raises:
        InputError: a batch needs more memory than is free, or the model cannot be trained on tiles of that size.
        OptionError: the images are of another shape than the model's or no pixels, or fewer than one batch takes, or
            a batch cannot be shared out evenly among the processes.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> model.draw_start(generator := torch.Generator().manual_seed(0))
        >>> trainer = dcgmm.training.Trainer(model, train.images, dcgmm.training.TrainerOptions(steps=20), [generator])
        >>> while trainer.steps < trainer.total_steps:
        ...     reports = trainer.step()  # None but at an annealing window's end
        >>> trainer.steps, round(trainer.epoch, 2)
        (20, 6.67)

    Source: section 3.2.1.
    """

    def __init__(
        self,
        model: DCGMM,
        images: Images,
        options: TrainerOptions,
        generators: Sequence[torch.Generator],
        processes: Processes | None = None,
    ) -> None:
        assert len(generators) == math.prod(model.batch_shape)
        given = as_images(images, model.input_shape)
        self.processes = Processes.current() if processes is None else processes
        self._batches = Batches(given, options, model, generators, self.processes)
        own = self._batches.batch_size
        self.batch_size = own * self.processes.size  # of all processes
        _check_precision(model)
        seen = model if options.tile is None else model_of_tiles(model, self._batches.shape)
        size = 2 * len(generators) * own * seen.image_bytes
        size += WORKING * sum(each.nbytes for each in model.parameters())
        require_memory(size, f"steps of {own} images for {len(generators)} model(s)", model.device)
        self._points = {  # of a step, of all processes
            name: self.batch_size * (gmm.output_shape.positions if gmm.shared else 1) for name, gmm in seen.gmms.items()
        }
        self.model, self.options = model, options
        self.steps_per_epoch = self._batches.steps_per_epoch
        self.total_steps = self._planned_steps()
        self._window = options.annealing.window
        self._centroid_steps = round(options.centroid_epochs * self.steps_per_epoch)
        self.steps = 0
        self._generators = list(generators)
        self._layers = {
            name: LayerTraining(gmm, options, self.steps_per_epoch, partial(_seeds, self._generators, number))
            for number, (name, gmm) in enumerate(model.gmms.items(), start=1)
        }
        self._measured = torch.zeros(len(self._layers), MEASURES, len(generators), dtype=model.dtype).to(model.device)
        # What processes exchange within a step is no part of a graph.
        alone = self.processes.size == 1
        self._step_graph, self._end_graph = Graphs(model.device, alone), Graphs(model.device, alone)
        self._to_compare = None if alone else given
        tell_what_is_slower(model.gmms, alone)

    def _compare(self, images: Tensor) -> None:
        """Refuse processes that begin with different things: they would come out with none's model."""
        parameters = {name: digest(value.detach()) for name, value in self.model.named_parameters()}
        shuffling = [digest(state) for state in self._batches.states(self.steps % self.steps_per_epoch)]
        facts = {"training images": digest(images), "options of training": self.options, "start values": parameters}
        self.processes.require_same({**facts, "shuffling": shuffling, "steps": self.steps})

    @property
    def epoch(self) -> float:
        """Epochs done, with the fraction of the one under way."""
        return self.steps / self.steps_per_epoch

    @property
    def epochs(self) -> float:
        """Epochs in all."""
        whole, rest = divmod(self.total_steps, self.steps_per_epoch)
        return whole if not rest else self.total_steps / self.steps_per_epoch

    def _planned_steps(self) -> int:
        """Steps as given, or by default: 25 epochs, or as many as it takes for annealing to end (`ANNEALINGS`)."""
        if self.options.steps is not None:
            return self.options.steps
        enough = math.ceil(ANNEALINGS * self.annealing_steps / self.steps_per_epoch)
        return (self.options.epochs or max(EPOCHS, enough)) * self.steps_per_epoch

    @property
    def annealing_steps(self) -> int:
        """Steps after which annealing can have reached its end."""
        return max(annealing_rule(self.options).minimal_steps(gmm.components) for gmm in self.model.gmms.values())

    def sigma(self) -> list[dict[str, float]]:
        """Smoothing width that each GMM layer's annealing has come down to, in grid steps; for each model."""
        return by_model({name: layer.sigma for name, layer in self._layers.items()})

    @torch.no_grad()
    def step(self) -> list[dict[str, LayerReport]] | None:
        """One step of SGD on the next batch; at an annealing window's end what each model's GMM layers have reached.

        Raises:
            InputError: a layer's objective or parameters are NaN or infinite (seen at the end of its window); or, at
                the first step, processes that train together were given different things.
            LostProcessError: another process has ended.
        """
        if self._to_compare is not None:
            self._compare(self._to_compare)
            self._to_compare = None
        if self.steps == self._centroid_steps:
            for layer in self._layers.values():
                layer.adapt(everything=True)
        self._batches.prepare(self.steps % self.steps_per_epoch)
        phases = tuple(layer.phase for layer in self._layers.values())
        self._step_graph.run(self._ascend, phases)
        if self.processes.size == 1:
            for layer in self._layers.values():
                layer.settle()
        self.steps += 1
        if self.steps % self._window:
            return None
        # The first two windows end otherwise than those that come.
        self._end_graph.run(self._end_window, (min(self.steps // self._window, 3), *phases))
        measured = dict(zip(self._layers, self._measured.tolist(), strict=True))  # the window's only look at values
        self._check_finite({name: rows[FINITE] for name, rows in measured.items()}, self.steps)
        return by_model({name: self._layers[name].begin_window(rows) for name, rows in measured.items()})

    def finite(self) -> dict[str, Tensor]:  # (models,) by layer
        """Whether each GMM layer's objective and parameters are, for each model."""
        return {name: layer.finite() for name, layer in self._layers.items()}

    def check_finite(self, finite: Mapping[str, Tensor] | None = None, steps: int | None = None) -> None:
        """Raise an InputError where a layer's objective or parameters are NaN or infinite.

        Args:
            finite, steps: what `finite` gave, and after how many steps; None: as it is now.
        """
        given = {name: models.tolist() for name, models in (self.finite() if finite is None else finite).items()}
        self._check_finite(given, self.steps if steps is None else steps)

    def _check_finite(self, finite: Mapping[str, Sequence[float]], steps: int) -> None:  # (models,) by layer, 0: not
        """Raise an InputError where a layer's objective, parameters or log-likelihood are not."""
        for name, models in finite.items():
            if bad := [number for number, value in enumerate(models, start=1) if not value]:
                which = f" of model {bad[0]} of {len(self._generators)}" if len(self._generators) > 1 else ""
                raise InputError(
                    f"{name}{which}: NaN or infinite log-likelihood or parameters within the "
                    f"{self._window} steps up to step {steps}; check the data for such values "
                    "or lower the learning rate's start"
                )

    def _ascend(self) -> None:
        """One step on the next batch: in place and without a look at any value, so that a CUDA graph can hold it."""
        if self.processes.size > 1:
            self._ascend_together()
            return
        # No gradient flows between layers: each takes the responsibilities below it as its data.
        self.model.upward(
            self._batches.coming(), lambda name, _, patches, top: self._layers[name].ascend(patches, passes_on=not top)
        )

    def _ascend_together(self) -> None:
        """The same step of several processes: the sums of all layers over each one's part of the batch are added up."""
        found: dict[str, Sums] = {}

        def take(name: str, gmm: GMM, patches: Patches, top: bool) -> Tensor | None:
            found[name], responsibilities = self._layers[name].sums(patches, passes_on=not top)
            return responsibilities

        self.model.upward(self._batches.coming(), take)
        given = [each for sums in found.values() for each in sums if each is not None]
        added = iter(self.processes.summed(given))
        for name, sums in found.items():
            together = Sums(*(None if each is None else next(added) for each in sums))  # type: ignore[arg-type]
            mean = together._replace(objective=together.objective / self.processes.size)
            self._layers[name].update(mean, self._points[name])

    def _end_window(self) -> None:
        """Measure and anneal, in place and without a look at any value."""
        scored = self.model.score_floats(self._batches.last())
        means = self.processes.summed([scored[name].log_prob.mean((-3, -2, -1)) for name in self._layers])
        for row, layer, mean in zip(self._measured, self._layers.values(), means, strict=True):
            row.copy_(layer.end_window(mean / self.processes.size))

    def state_dicts(self, *, checked: bool = True) -> list[dict[str, Any]]:
        """All that training goes on from beside the model, for each as if it were trained alone: tensors and built-ins.

        Args:
            checked: whether all is looked at first, which waits for a device; else it is on the caller.

        Raises:
            InputError: a layer's objective or parameters are NaN or infinite, so that nothing could go on from here.
        """
        if checked:
            self.check_finite()
        generators = self._batches.states(self.steps % self.steps_per_epoch)
        layers = by_model({name: layer.state_dicts() for name, layer in self._layers.items()})
        return [
            {
                "layers": layers[number],
                "steps": self.steps,
                "epoch": self.steps // self.steps_per_epoch,
                "generator": generator,
            }
            for number, generator in enumerate(generators)
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from what `state_dicts` gave, with the model as it was then: the next step is the one to come.

        Raises:
            InputError: it is none of this training's.
        """
        steps = {state["steps"] for state in states}
        if len(steps) != 1 or type(next(iter(steps))) is not int or min(steps) < 0:
            raise InputError(f"steps {', '.join(map(str, steps))} of a training, not one whole number of at least 0")
        self.steps = steps.pop()
        self._batches.load_states([state["generator"] for state in states])
        for name, layer in self._layers.items():
            layer.load_state_dicts([state["layers"][name] for state in states])
            layer.adapt(everything=self.steps > self._centroid_steps)


def _seeds(generators: Sequence[torch.Generator], layer: int) -> list[int]:
    """Of what a layer draws once training is under way, for each model."""
    return [generator.initial_seed() + layer for generator in generators]


def _check_precision(model: DCGMM) -> None:
    """Refuse a limit of the precision at which rounding would decide which component a point goes to.

    Raises:
        OptionError: it is too large for the model's number type.
    """
    kind = str(model.dtype).removeprefix("torch.")
    most = MOST_PRECISE.get(kind, MOST_PRECISE["float32"])
    for gmm in model.gmms.values():
        if gmm.options.precision_limit > most:
            rule = f"at most {most:g} in {kind}, whose rounding would hide what tells more precise components apart"
            raise OptionError("precision_limit", rule, gmm.options.precision_limit, GMMOptions)


def by_model(columns: dict[str, list[T]]) -> list[dict[str, T]]:
    """A dictionary for each model, of a dictionary of lists over the models."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
