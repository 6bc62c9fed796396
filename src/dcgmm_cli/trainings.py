"""A training as its run directory sees it: measurements, checkpoints, and what is written when it has ended."""

import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from dcgmm.background import on_host
from dcgmm.checkpoints import save_detector, write_state
from dcgmm.datasets import ImageData, Split
from dcgmm.density import density, why_no_density
from dcgmm.distributed import Processes
from dcgmm.errors import InputError
from dcgmm.files import CHECKPOINT
from dcgmm.model import DCGMM, summarise
from dcgmm.options import plain
from dcgmm.outliers import Detector, Moments, log_likelihood_moments
from dcgmm.states import model_state, model_states
from dcgmm.training import LayerReport, Trainer
from dcgmm.training.outcome import Progress, progress, trouble
from dcgmm.training.weights import weights_by_use
from dcgmm_cli.checkpointing import Checkpoints
from dcgmm_cli.figures.train import save_training_figures
from dcgmm_cli.interruption import Interrupted, Interruption
from dcgmm_cli.loggers.feeding import Loggers
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.records import append_metrics, read_metrics, write_result
from dcgmm_cli.runs import PLANNED, REPLICAS
from dcgmm_cli.schema_train import TrainConfig

log = logging.getLogger(__name__)


def homes_of(directory: Path, config: TrainConfig) -> tuple[list[Path], list[TrainConfig]]:
    """A run directory and configuration for each model: the run's own, or those of each replica in it."""
    if config.trainer.replicas == 1:
        return [directory], [config]
    seeds = range(config.seed, config.seed + config.trainer.replicas)
    alone = replace(config.trainer, replicas=1)
    homes = [directory / REPLICAS / f"seed-{seed}" for seed in seeds]
    return homes, [replace(config, seed=seed, trainer=alone) for seed in seeds]


@dataclass
class Training:
    """One model, or several side by side, on the way from start values to finished run directories."""

    config: TrainConfig
    data: ImageData
    trainer: Trainer
    directory: Path
    homes: list[Path]  # each model's run directory
    configs: list[TrainConfig]  # and configuration
    seconds: float  # that all starts before this one have trained

    def train(self, interruption: Interruption, loggers: Loggers) -> None:
        """Take all steps, with measurements at each window's end and a checkpoint every so many epochs."""
        trainer, pending, processes = self.trainer, dict[Path, list[dict[str, Any]]](), self.trainer.processes
        self._started = time.monotonic() - self.seconds

        def write_measurements() -> None:
            if not processes.is_first:
                pending.clear()
            for home, lines in pending.items():
                append_metrics(home, lines)
                loggers.measured(home, lines)
            pending.clear()

        def step() -> list[dict[str, LayerReport]] | None:
            try:
                return trainer.step()
            except InputError:  # it diverged: what it did on the way there is of interest
                write_measurements()
                raise

        def save() -> None:
            begun = time.monotonic()
            if not processes.is_first:
                return
            if not self.directory.is_dir():  # else it would be made again, with no more than this in it
                raise InputError(f"{self.directory} is not there any more: it was removed while the run was under way")
            # Measurements first: what lies behind the checkpoint is cut off when the run is resumed.
            write_measurements()
            checkpoints.begin(self._snapshot(), begun)

        every = self.config.trainer.checkpoint_epochs * trainer.steps_per_epoch
        bar = ProgressBar("train", trainer.total_steps, "steps", trainer.steps)
        with bar, interruption.held(), Checkpoints() as checkpoints:
            while trainer.steps < trainer.total_steps:
                reports = step()
                if reports:
                    for home, report in zip(self.homes, reports, strict=True):
                        layers = {name: asdict(layer) for name, layer in report.items()}
                        line = {"step": trainer.steps, "epoch": round(trainer.epoch, 4), "layers": layers}
                        pending.setdefault(home, []).append(line)
                    epoch = f"epoch {trainer.epoch:.1f} of {trainer.epochs:g}"
                    bar.update(trainer.steps, f"{epoch}  {_brief(reports)}", f"{epoch}  {_briefest(reports)}")
                stops = processes.agree(interruption.pending is not None)
                ends = trainer.steps == trainer.total_steps or stops
                if ends or (trainer.steps % every == 0 and checkpoints.is_due()):
                    save()
                if ends:
                    checkpoints.finish()
                if stops:
                    interruption.check()
                    raise Interrupted(signal.SIGTERM)  # which another process has received
        self.seconds = time.monotonic() - self._started

    def _snapshot(self) -> Callable[[], None]:
        """The one checkpoint that training goes on from, as all is now: all models are at the same step in it.

        Returns:
            What waits for the values, looks whether they can be gone on with, and writes them; for any thread.
        """
        self.seconds = time.monotonic() - self._started
        trainer, models = self.trainer, model_states(self.trainer.model)
        pairs = zip(models, self._states(), strict=True)
        parts = [{"model": model, "training": state} for model, state in pairs]
        content = {**self._description(self.config), **(parts[0] if len(parts) == 1 else {"replicas": parts})}
        (state, finite), wait = on_host((content, trainer.finite()))
        check = partial(trainer.check_finite, finite, trainer.steps)

        def write() -> None:
            wait()
            check()
            write_state(self.directory / CHECKPOINT, state)

        return write

    def _states(self) -> list[dict[str, Any]]:
        """What each model's training goes on from, with the time that it has taken."""
        return [{**state, "seconds": self.seconds} for state in self.trainer.state_dicts(checked=False)]

    def _description(self, config: TrainConfig) -> dict[str, Any]:
        return {
            "config": plain(config),
            "class_names": list(self.data.class_names),
            "classes": list(self.data.chosen_names),
            "data_digest": self.data.digest,
        }

    def about(self) -> dict[str, Any]:
        """What is known of model and data before training, for `meta.json`."""
        data = self.data
        counts = {name: split.labels.bincount(minlength=len(data.class_names)) for name, split in _splits(data).items()}
        classes = [
            {"label": label, "name": data.class_names[label], **{name: int(of[label]) for name, of in counts.items()}}
            for label in data.classes
        ]
        about = {"source": data.source, "image_shape": list(data.train.images.shape[1:]), "classes": classes}
        return {
            PLANNED: self.trainer.total_steps,
            "layers": plain(summarise(self.trainer.model)),
            "data": about | {name: len(split) for name, split in _splits(data).items()},
        }

    def facts(self) -> dict[str, Any]:
        """What all models have in common, for `result.json`."""
        return {
            "steps": self.trainer.steps,
            "epochs": self.trainer.epochs,
            "train_seconds": round(self.seconds, 3),
            "train_images": len(self.data.train),
            "test_images": len(self.data.test),
            "failed": len(self.data.failures),
            "classes": list(self.data.chosen_names),
            "data_source": self.data.source,
        }

    def finish(self, loggers: Loggers) -> list[dict[str, Any]]:
        """Score training and test images, write each model's checkpoint, detector and figures; return their results.

        Of several processes the first one writes, and the others return nothing.
        """
        results, models, states = [], self.trainer.model.alone(), self._states()
        processes = self.trainer.processes
        for home, config, model, state, sigma in zip(
            self.homes, self.configs, models, states, self.trainer.sigma(), strict=True
        ):
            started = time.monotonic()
            if config.trainer.weights_by_use:
                weights_by_use(model, self.data.train.images, processes)
            pooled = config.trainer.tile is not None
            detector = Detector.fit(model, self.data.train.images, pooled=pooled, processes=processes)
            test = _moments(model, self.data.test, processes)
            if not processes.is_first:
                continue
            parts = {"model": model_state(model), "training": state, "finished": True}
            write_state(home / CHECKPOINT, {**self._description(config), **parts})
            save_detector(detector, home)
            save_training_figures(model, home, read_metrics(home))
            judged = self.data.test if len(self.data.test) else self.data.train
            gained = progress(model, judged.images, config.seed)
            if problem := trouble(gained):
                log.warning("%s%s", f"seed {config.seed}: " if len(models) > 1 else "", problem)
            results.append(
                {"layers": _layer_results(model, detector, test, sigma, gained), "problem": problem}
                | {"density": _density_result(model, self.data)}
                | self.facts()
            )
            loggers.finished(home, results[-1])
            if len(models) > 1:
                finished = {"command": "train", **results[-1], "status": "finished"}
                write_result(home, finished, self.seconds + time.monotonic() - started)
        return results


def _splits(data: ImageData) -> dict[str, Split]:
    return {"train": data.train, "test": data.test}


def in_brief(layers: Sequence[Mapping[str, Any]]) -> str:
    """Layers, as `Training.about` has them, in one line: what each gives, and the parameters of all."""
    given = (f"{layer['layer']} {'x'.join(map(str, layer['output_shape']))}" for layer in layers)
    shape, parameters = "x".join(map(str, layers[0]["input_shape"])), sum(layer["parameters"] for layer in layers)
    return f"{shape} -> {' -> '.join(given)}; {parameters:,} parameters"


def _layer_results(
    model: DCGMM,
    detector: Detector,
    test: Mapping[str, Moments],  # of the test images
    sigma: dict[str, float],
    gained: Mapping[str, Progress],
) -> dict[str, dict[str, Any]]:
    train = detector.positions
    return {
        name: {
            "train_log_likelihood": _mean(train[name]),
            "test_log_likelihood": _mean(test[name]) if test else None,
            "start_log_likelihood": gained[name].start,
            "sigma": sigma[name],
            "components": gmm.logits.numel(),  # of all positions where each has its own
            "weights_in_use": gmm.components_in_use,
        }
        for name, gmm in model.gmms.items()
    }


def _moments(model: DCGMM, split: Split, processes: Processes) -> dict[str, Moments]:
    return log_likelihood_moments(model, split.images, processes=processes) if len(split) else {}


def _density_result(model: DCGMM, data: ImageData) -> dict[str, Any]:
    """Density of the pixels, mean over the test images; why there is none, where the model is none."""
    reason = why_no_density(model)
    if reason is not None or not len(data.test):
        return {"reason": reason or "there are no test images"}
    found = density(model, data.test.images)
    return {"nats": float(found.nats.mean()), "bits_per_dimension": float(found.bits_per_dimension.mean())}


def _mean(moments: Moments) -> float:
    return float(moments.mean.mean())


def _brief(reports: list[dict[str, LayerReport]]) -> str:
    """The GMM layers' progress in one line; of models side by side their mean."""

    def mean(name: str, key: str) -> float:
        return fmean(getattr(report[name], key) for report in reports)

    return "  ".join(
        f"{name}: {mean(name, 'log_likelihood'):.1f} nats, sigma {mean(name, 'sigma'):.3g}, "
        f"rate {mean(name, 'learning_rate'):.3g}"
        for name in reports[0]
    )


def _briefest(reports: list[dict[str, LayerReport]]) -> str:
    """How likely the images are to the last layer, and how far annealing has come, in a few words."""
    top = list(reports[0])[-1]
    likelihood = fmean(report[top].log_likelihood for report in reports)
    return f"{top} {likelihood:.1f} nats, sigma {max(layer.sigma for each in reports for layer in each.values()):.2g}"
