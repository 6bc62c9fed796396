"""`fit`: a whole training in one call."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from dcgmm.distributed import Processes
from dcgmm.errors import InputError
from dcgmm.images import Images
from dcgmm.model.stack import DCGMM
from dcgmm.options import checked_seed, made
from dcgmm.training.layer import LayerReport
from dcgmm.training.options import ANNEALINGS, EPOCHS, TrainerOptions
from dcgmm.training.outcome import progress as progress_of
from dcgmm.training.outcome import trouble
from dcgmm.training.trainer import Trainer
from dcgmm.training.weights import weights_by_use

log = logging.getLogger(__name__)

Callback = Callable[[Trainer, dict[str, LayerReport]], Any]


@dataclass(repr=False)
class History:
    """How a training went: a row for each annealing window.

    Attributes:
        steps: done at its end.
        epochs: done at its end, with the fraction of the one under way.
        layers: reports by GMM layer.

    Examples:
        >>> import dcgmm
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> train = dcgmm.datasets.load("mnist_sample", limit=300).train
        >>> history = dcgmm.fit(model, train.images, steps=20, annealing={"alpha": 0.1})
        >>> history, history.steps, len(history.layers["gmm2"])
        (History(2 windows of gmm1, gmm2, 20 steps), [10, 20], 2)
    """

    steps: list[int] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)
    layers: dict[str, list[LayerReport]] = field(default_factory=dict)

    def __repr__(self) -> str:
        steps = self.steps[-1] if self.steps else 0
        return f"History({len(self.steps)} windows of {', '.join(self.layers)}, {steps} steps)"

    def add(self, trainer: Trainer, report: dict[str, LayerReport]) -> None:
        """Take in a window."""
        self.steps.append(trainer.steps)
        self.epochs.append(trainer.epoch)
        for name, layer in report.items():
            self.layers.setdefault(name, []).append(layer)


def fit(
    model: DCGMM,
    images: Images,
    *,
    seed: int = 0,
    callback: Callback | None = None,
    progress: bool = False,
    **options: Any,
) -> History:
    """Train a model from random start values, in place: the same bits as `dcgmm train` with the same seed.

    Where `torch.distributed` has a default group its processes train the model together, if all of them call this with
    the same arguments: each takes its part of every batch, and all come out with the same model.

    Args:
        model: on its device, with its number type. What it has learnt before is lost.
        images: (N, H, W, C), or (N, H, W) for one channel: uint8, or floats in [0, 1].
        seed: of start values and shuffling.
        callback: called at each annealing window's end with the trainer and each GMM layer's report; in each process.
        progress: whether a bar shows how far it is; in a notebook it is the notebook's own.
        options: fields of `TrainerOptions`, as in `epochs=25, batch_size=100, annealing={"gamma": 0.8}`; `steps=5000`
            stands in place of epochs.

    Raises:
        InputError: an option is unknown, it or the seed out of its range, the images do not fit the model or are fewer
            than a batch takes, training diverges, or processes were given different
            things. Where it ends worse than it started, the log has a warning.
        LostProcessError: another process has ended.

    Examples:
        >>> import dcgmm
        >>> crops = dcgmm.datasets.load("mnist_sample", limit=100).train.images[:, 12:16, 12:16]
        >>> model = dcgmm.DCGMM.build((4, 4, 1), [{"type": "gmm", "components": 4}])
        >>> history = dcgmm.fit(model, crops, steps=100, batch_size=10)
        >>> history.steps[-1], len(history.layers["gmm1"])
        (99, 3)

    Source: section 3.2.1.
    """
    processes = Processes.current()
    if model.batch_shape:
        raise InputError(f"fit takes one model, this one holds {list(model.batch_shape)} side by side: use Trainer")
    generator = torch.Generator().manual_seed(checked_seed(seed))
    trainer = Trainer(model, images, made(TrainerOptions, options), [generator], processes)
    model.draw_start(generator)
    if processes.is_first and (advice := short_training(trainer)):
        log.warning("%s", advice)
    if processes.is_first and (length := length_of(trainer)):
        log.info("%s", length)
    history = History()
    shows = progress and processes.is_first
    with _bar(trainer.total_steps) if shows else contextlib.nullcontext() as bar:
        while trainer.steps < trainer.total_steps:
            reports = trainer.step()
            if reports:
                history.add(trainer, reports[0])
                if callback is not None:
                    callback(trainer, reports[0])
            if bar is not None and (reports or trainer.steps == trainer.total_steps):
                _show(bar, trainer.steps, history)
    trainer.check_finite()
    if trainer.options.weights_by_use:
        weights_by_use(model, images, processes)
    if processes.is_first and (problem := trouble(progress_of(model, images, seed))):
        log.warning("%s", problem)
    return history


def _bar(steps: int) -> Any:
    """A bar that suits a terminal or a notebook."""
    from tqdm.auto import tqdm

    return tqdm(total=steps, desc="fit", unit=" steps")


def _show(bar: Any, steps: int, history: History) -> None:
    """Bring a bar up to date: how likely the images are to the last layer, and how far annealing has come."""
    if history.layers:
        name, reports = list(history.layers.items())[-1]
        sigma = max(layer[-1].sigma for layer in history.layers.values())
        bar.set_postfix_str(f"{name} {reports[-1].log_likelihood:.1f} nats, sigma {sigma:.2g}", refresh=False)
    bar.update(steps - bar.n)


def length_of(trainer: Trainer) -> str | None:
    """How long a training takes by default that is longer than others, because its images are few; else None."""
    options = trainer.options
    if options.epochs is not None or options.steps is not None or trainer.epochs <= EPOCHS:
        return None
    return (
        f"{EPOCHS} epochs are {EPOCHS * trainer.steps_per_epoch} steps here: training takes {trainer.epochs:g} "
        f"({trainer.total_steps} steps), {ANNEALINGS} times what annealing needs at the soonest"
    )


def short_training(trainer: Trainer, prefix: str = "") -> str | None:
    """What to do about a training too short for its annealing to end, in words; None where it is long enough.

    Args:
        trainer: before its first step.
        prefix: of the options' names.
    """
    needed, options = trainer.annealing_steps, trainer.options
    if trainer.total_steps >= needed:
        return None
    length = f"{options.epochs} epochs give {trainer.total_steps}" if options.epochs else f"there are {options.steps}"
    given = "epochs" if options.epochs else "steps"
    return (
        f"annealing needs at least {needed} steps to reach its end, {length}: give "
        f"{prefix}steps={ANNEALINGS * needed}, or leave {prefix}{given} out for a length that suits so few images"
    )
