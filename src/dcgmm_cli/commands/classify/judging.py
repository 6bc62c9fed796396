"""Judging classifiers by test images.

Shapes: N images, H W pixels, C channels, G classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from dcgmm.classification import ClassFigures, Classifier, class_figures, log_posteriors
from dcgmm.datasets import ImageData
from dcgmm.datasets.split import Split
from dcgmm.errors import InputError
from dcgmm.generation.masks import observed_part
from dcgmm.images import to_float
from dcgmm_cli.draws import save_arrays
from dcgmm_cli.figures.base import drawable, save_figure
from dcgmm_cli.figures.classify import confusion_figure, missing_figure, reliability_figure, wrong_figure
from dcgmm_cli.job import Job
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.schema import ClassifyConfig
from dcgmm_cli.terminal import print_table

CURVE = ("accuracy", "log_loss", "ece")


def judge(
    classifiers: Mapping[str, Classifier],
    data: ImageData,
    test: Split,
    observed: Tensor | None,  # (N, H, W)
    config: ClassifyConfig,
    job: Job,
) -> None:
    """Figures of every classifier, the curve over missing pixels, pictures, and p(c | x) of all images."""
    classes = torch.tensor(next(iter(classifiers.values())).classes)
    index, names = torch.searchsorted(classes, test.labels), [data.class_names[label] for label in classes.tolist()]
    said = log_posteriors(classifiers, test.images, observed)
    figures = {name: class_figures(each, index) for name, each in said.items()}
    job.result.update(images=len(test), classes=names)
    for name, each in figures.items():
        job.result[name] |= _result(each)
    curve = _curve(classifiers, test, index, config) if config.missing else {}
    if curve:
        job.result["curve"] = {"missing": list(config.missing)} | {
            name: {key: [getattr(each, key) for each in points] for key in CURVE} for name, points in curve.items()
        }
    posteriors = {name: each.exp() for name, each in said.items()}
    save_arrays({"label": test.labels, "classes": classes} | posteriors, job.directory / "probabilities.npz")
    folder = job.directory / "figures"
    _save_figures(figures, curve, names, config, folder)
    if config.shown:
        for name, shares in posteriors.items():
            _save_wrong(shares, index, test.images, observed, names, config.shown, folder / f"wrong_{name}.png")
    _print_table(figures, curve, config.missing, f"{len(test)} test images of {data.name}")


def chosen_test(data: ImageData, config: ClassifyConfig) -> Split:
    """The test images to judge by.

    Raises:
        InputError: there are none.
    """
    test = data.test
    if not len(test):
        raise InputError(f"{data.name} has no test images of the run's classes: set aside some by dataset.holdout")
    if config.images is None:
        return test
    generator = torch.Generator().manual_seed(config.seed)
    return test[torch.randperm(len(test), generator=generator)[: config.images]]


def _curve(
    classifiers: Mapping[str, Classifier], test: Split, index: Tensor, config: ClassifyConfig
) -> dict[str, list[ClassFigures]]:
    """Figures of each classifier where a share of the pixels is missing, drawn by the seed for each image."""
    curve: dict[str, list[ClassFigures]] = {name: [] for name in classifiers}
    height, width = test.images.shape[1:3]
    with ProgressBar("missing pixels", len(config.missing), "shares") as bar:
        for done, share in enumerate(config.missing):
            bar.update(done, f"{share:.0%}")
            seen = observed_part("random", height, width, len(test), share=share, seed=config.seed)
            for name, said in log_posteriors(classifiers, test.images, seen).items():
                curve[name].append(class_figures(said, index))
        bar.update(len(config.missing))
    return curve


def _result(figures: ClassFigures) -> dict[str, Any]:
    bins = {key: value.tolist() for key, value in vars(figures.reliability).items()}
    for key in ("confidence", "accuracy"):  # an empty bin has none
        bins[key] = [value if count else None for value, count in zip(bins[key], bins["count"], strict=True)]
    return {
        "accuracy": figures.accuracy,
        "log_loss": figures.log_loss,
        "ece": figures.ece,
        "confusion": figures.confusion.tolist(),
        "reliability": bins,
    }


def _save_figures(
    figures: Mapping[str, ClassFigures],
    curve: Mapping[str, Sequence[ClassFigures]],
    names: Sequence[str],
    config: ClassifyConfig,
    folder: Path,
) -> None:
    confusions = {f"{name}: {each.accuracy:.2%} right": each.confusion for name, each in figures.items()}
    save_figure(confusion_figure(confusions, names), folder / "confusion.png")
    bins = {f"{name}: ECE {each.ece:.3f}": each.reliability for name, each in figures.items()}
    save_figure(reliability_figure(bins), folder / "reliability.png")
    if curve:
        shares = [0.0, *config.missing] if config.mask is None else list(config.missing)
        lines = {
            name: [each.accuracy for each in ([figures[name]] if config.mask is None else []) + list(points)]
            for name, points in curve.items()
        }
        save_figure(missing_figure(shares, lines, 1 / len(names)), folder / "missing.png")


def _save_wrong(
    posterior: Tensor,  # (N, G)
    index: Tensor,  # (N,)
    images: Tensor,  # (N, H, W, C)
    observed: Tensor | None,  # (N, H, W)
    names: Sequence[str],
    count: int,
    path: Path,
) -> None:
    """Draw the images that a classifier is most surely wrong about; what was not seen of them is grey."""
    sure, found = posterior.max(-1)
    wrong = (found != index).nonzero()[:, 0]
    shown = wrong[sure[wrong].argsort(descending=True, stable=True)[:count]]
    if not len(shown):
        return
    pictures = to_float(images[shown].cpu(), torch.float32)
    if observed is not None:
        pictures = pictures.where(observed[shown].unsqueeze(-1), 0.5)
    drawn = [drawable(name, 14) for name in names]
    rows = zip(index[shown].tolist(), found[shown].tolist(), sure[shown].tolist(), strict=True)
    titles = [f"{drawn[true]}\ntaken for {drawn[taken]}: {share:.0%}" for true, taken, share in rows]
    save_figure(wrong_figure(pictures, titles), path)


def _print_table(
    figures: Mapping[str, ClassFigures],
    curve: Mapping[str, Sequence[ClassFigures]],
    missing: Sequence[float],
    title: str,
) -> None:
    caption = "right of ECE: accuracy where so many of the pixels are missing at random" if curve else None
    table = Table(title=title, caption=caption)
    for column in ("", "accuracy", "log loss", "ECE", *(f"{share:.0%}" for share in missing if curve)):
        table.add_column(column, justify="right" if column else "left")
    for name, each in figures.items():
        points = [f"{point.accuracy:.2%}" for point in curve.get(name, ())]
        table.add_row(name, f"{each.accuracy:.2%}", f"{each.log_loss:.4f}", f"{each.ece:.4f}", *points)
    print_table(table)
