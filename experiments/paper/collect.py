"""Collects what the runs have left into files of the report, a table (CSV) and a JSON file for each item.

Figures were computed by the commands that the plan ran; here they are read, averaged and drawn.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dcgmm
from dcgmm.outliers.metrics import detection_curve
from experiments.paper.architectures import architectures
from experiments.paper.found import Found, conditions, find
from experiments.paper.items import QUALITIES, Item, Row, write_item
from experiments.paper.pictures import (
    detection_curves,
    duplicates,
    sample_panels,
    save_figure,
    save_small_copy,
)
from experiments.paper.plan import ALL_CLASSES, FIRST_FIVE, SAMPLED, TOP_S, Study, finished_result
from experiments.paper.published import DATASETS

KEPT = np.linspace(0, 1, 101)  # where mean curves are read
SHARPENINGS = ("paper", "paper_low_noise", "default")
SIGNIFICANT = 0.1  # of a position's largest entry: a smaller one counts as empty


def collect(study: Study, item: str, out: Path) -> bool:
    """Write an item's files, if there is anything of it yet; says whether there was."""
    collected = COLLECTORS[item](study, out)
    if not collected.rows:
        return False
    write_item(out, item, collected)
    return True


# Tables


def table1(study: Study, out: Path) -> Item:
    """The eight architectures."""
    return architectures()


def table2(study: Study, out: Path) -> Item:
    """Clustering figures of every run."""
    found = find(study, ALL_CLASSES, "cluster/table2")
    keys = ("dunn", "davies_bouldin", "clusters", "zero_pairs", "images")
    rows = [each.key | {key: each.result[key] for key in keys} for each in found]
    peers = [
        {"dataset": each.dataset, "arch": name, "seed": each.seed, **{key: figures[key] for key in keys[:3]}}
        for each in found
        if each.arch == "1L"
        for name, figures in each.result["methods"].items()
        if name != each.result["layer"]
    ]
    return Item(rows, {"peers": peers, "conditions": conditions(found)})


# Figure 2


def fig2(study: Study, out: Path) -> Item:
    """Centroids of both GMM layers of 2L-a, and the way from a top component to an image."""
    found = find(study, ALL_CLASSES, "visualize/figure2", ["2L-a"])[:1]
    for each in found:
        for name in ("centroids_gmm1", "centroids_gmm2", "walk"):
            save_small_copy(each.directory / "figures" / f"{name}.png", out / f"fig2-{name}.png")
    rows = [each.key | sparsity(each.run) | {"component": each.result["component"]} for each in found]
    return Item(rows, {"conditions": conditions(found)})


def sparsity(run: Path) -> Row:
    """How sparse the centroids of 2L-a's upper layer are: entries above a tenth of their position's largest."""
    gmms = dcgmm.load_run(run).model.gmms
    below, top = gmms["gmm1"], gmms["gmm2"]
    patches = top.loc.detach().clamp(min=0).unflatten(-1, (-1, below.components))  # (K, positions, entries)
    significant = (patches > SIGNIFICANT * patches.amax(-1, keepdim=True)).sum(-1)
    return {
        "entries": below.components,
        "mean_entries_in_use": float(significant.double().mean()),
        "median_entries_in_use": float(torch.quantile(significant.double(), 0.5)),
    }


# Figure 3


def fig3(study: Study, out: Path) -> Item:
    """AUROC of every run, and curves in the mean of the runs."""
    found = find(study, FIRST_FIVE, "outliers/figure3")
    rows = [each.key | {"auroc": each.result["auroc"]["top"], "joint": each.result["auroc"]["joint"]} for each in found]
    curves: dict[str, dict[str, Any]] = {}
    marks: dict[str, dict[str, Any]] = {}
    for (dataset, arch), group in _by_model(found).items():
        removed = 100 * np.mean([_removed(each) for each in group], axis=0)
        curves.setdefault(dataset, {})[arch] = {
            "inliers_kept": _rounded(100 * KEPT),
            "outliers_removed": _rounded(removed),
        }
        c = group[0].result["curve"]["c"]
        whole = [number for number, value in enumerate(c) if abs(value - round(value)) < 1e-9]
        marks.setdefault(dataset, {})[arch] = {"c": [round(c[number]) for number in whole]} | {
            axis: _rounded(100 * np.mean([each.result["curve"][axis] for each in group], axis=0)[whole])
            for axis in ("inliers_kept", "outliers_removed")
        }
    if found:
        save_figure(detection_curves(curves, marks), out / "fig3.png")
    return Item(rows, {"curves": curves, "marks": marks, "conditions": conditions(found)})


def _by_model(found: Sequence[Found]) -> dict[tuple[str, str], list[Found]]:
    groups: dict[tuple[str, str], list[Found]] = {}
    for each in found:
        groups.setdefault((each.dataset, each.arch), []).append(each)
    return groups


def _removed(each: Found) -> Any:  # (T,)
    """Fraction of outliers removed where each fraction of `KEPT` of the inliers is kept."""
    with np.load(each.directory / "scores.npz") as scores:
        values, outlier = scores[each.result["score"]], scores["outlier"]
    inside, outside = values[~outlier], values[outlier]
    return detection_curve(inside, outside, np.quantile(inside, 1 - KEPT)).outliers_removed


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 3) for value in values]


# Figures 4 and 7


def fig4(study: Study, out: Path) -> Item:
    """Diversity of samples: all architectures, on MNIST."""
    return _diversity(study, out, "mnist", "fig4")


def fig7(study: Study, out: Path) -> Item:
    """Diversity of samples: all architectures, on FashionMNIST."""
    return _diversity(study, out, "fashion_mnist", "fig7")


def _diversity(study: Study, out: Path, dataset: str, name: str) -> Item:
    found = [each for each in find(study, FIRST_FIVE, "sample/no_pixel_noise") if each.dataset == dataset]
    rows = [each.key | {"repeated": _repeated(each)} | {key: each.result[key] for key in QUALITIES} for each in found]
    tests = [each.result["quality"]["test images"] for each in found if "test images" in each.result["quality"]]
    panels = []
    for label, follow_up in (("drawn by the model", "model_noise"), ("without pixel noise", "no_pixel_noise")):
        line = []
        for arch in SAMPLED:
            first = study.run(FIRST_FIVE, arch, dataset, study.seeds(arch)[0]) / "sample" / follow_up
            if finished_result(first) is not None:
                with np.load(first / "samples.npz") as samples:
                    images, components = samples["images"][..., 0], samples["components_gmm1"]
                line.append((arch, images, duplicates(components)))
        if line:
            panels.append((label, line))
    if panels:
        save_figure(sample_panels(panels), out / f"{name}.png")
    return Item(rows, {"test_images": _means(tests), "conditions": conditions(found)})


def _repeated(each: Found) -> float:
    """Share of the drawn images that another one equals but for pixel noise."""
    with np.load(each.directory / "samples.npz") as samples:
        return float(duplicates(samples["components_gmm1"]).mean())


def _means(qualities: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: sum(each[key] for each in qualities) / len(qualities) for key in QUALITIES} if qualities else {}


# Figures 5 and 8


def fig5(study: Study, out: Path) -> Item:
    """Sharpening of 2L-c's samples, on MNIST."""
    return _sharpening(study, out, "mnist", "fig5")


def fig8(study: Study, out: Path) -> Item:
    """Sharpening of 2L-c's samples, on FashionMNIST."""
    return _sharpening(study, out, "fashion_mnist", "fig8")


def _sharpening(study: Study, out: Path, dataset: str, name: str) -> Item:
    rows: list[Row] = []
    everything: list[Found] = []
    for setting in SHARPENINGS:
        found = [each for each in find(study, FIRST_FIVE, f"sharpen/{setting}", ["2L-c"]) if each.dataset == dataset]
        everything += found
        for each in found:
            quality, likelihood = each.result["quality"], each.result["log_likelihood"]
            row = each.key | {"setting": setting}
            for key in QUALITIES:
                row |= {f"{key}_before": quality["unsharpened"][key], f"{key}_after": quality["sharpened"][key]}
            row |= {f"log_likelihood_{when}": likelihood[when] for when in ("before", "after")}
            rows.append(row)
        for each in found[:1]:
            save_small_copy(each.directory / "figures" / "sharpening.png", out / f"{name}-{setting}.png")
    return Item(rows, {"conditions": conditions(everything)})


# Figure 6


def fig6(study: Study, out: Path) -> Item:
    """Samples of 2L-c by S."""
    found = find(study, FIRST_FIVE, "sample/top_s", ["2L-c"])
    rows = [
        each.key | {"top_s": top_s} | {key: each.result["quality"][f"top_s={top_s}"][key] for key in QUALITIES}
        for each in found
        for top_s in TOP_S
    ]
    panels = []
    for (dataset, _), group in _by_model(found).items():
        with np.load(group[0].directory / "samples.npz") as samples:
            images, which, components = samples["images"][..., 0], samples["top_s"], samples["components_gmm1"]
        line = [(f"S={s}", images[which == s], duplicates(components[which == s])) for s in TOP_S]
        panels.append((DATASETS[dataset], line))
    if panels:
        save_figure(sample_panels(panels), out / "fig6.png")
    return Item(rows, {"conditions": conditions(found)})


COLLECTORS: dict[str, Callable[[Study, Path], Item]] = {
    "table1": table1,
    "table2": table2,
    "fig2": fig2,
    "fig3": fig3,
    "fig4": fig4,
    "fig5": fig5,
    "fig6": fig6,
    "fig7": fig7,
    "fig8": fig8,
}
