"""Collects what the runs have left into files of the report, a table (CSV) and a JSON file for each item.

Figures were computed by the commands that the plan ran; here they are read, averaged and drawn.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from dcgmm_cli.checkpoints import load_checkpoint
from dcgmm_cli.cli import conf_dir
from dcgmm_cli.detection import detection_curve
from dcgmm_cli.errors import UserError
from dcgmm_cli.model import DCGMM, GMM
from dcgmm_cli.runs import META, read_json, write_whole
from experiments.paper.pictures import (
    detection_curves,
    duplicates,
    sample_panels,
    save_figure,
    save_small_copy,
)
from experiments.paper.plan import ALL_CLASSES, FIRST_FIVE, SAMPLED, TOP_S, Study, finished_result
from experiments.paper.published import DATASETS, TABLE_1

IMAGE_SHAPE = (28, 28, 1)
KEPT = np.linspace(0, 1, 101)  # where mean curves are read
SHARPENINGS = ("paper", "paper_low_noise", "default")
QUALITIES = ("diversity", "near_duplicates", "train_distance", "ndb", "js")
SIGNIFICANT = 0.1  # of a position's largest entry: a smaller one counts as empty

Row = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """A table or figure as it is collected: a row a run, and what does not fit into rows."""

    rows: list[Row]
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """A finished command on one model."""

    dataset: str
    arch: str
    seed: int
    run: Path
    directory: Path
    result: dict[str, Any]

    @property
    def key(self) -> Row:
        return {"dataset": self.dataset, "arch": self.arch, "seed": self.seed}


def collect(study: Study, item: str, out: Path) -> bool:
    """Write an item's files, if there is anything of it yet; says whether there was."""
    collected = COLLECTORS[item](study, out)
    if not collected.rows:
        return False
    write_item(out, item, collected)
    return True


def write_item(out: Path, item: str, collected: Item) -> None:
    """Write `<item>.csv` and `<item>.json`."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in collected.rows for key in row))
    lines = csv.DictWriter(text, columns, lineterminator="\n")
    lines.writeheader()
    lines.writerows({key: _shorter(value) for key, value in row.items()} for row in collected.rows)
    write_whole(out / f"{item}.csv", lambda file: file.write(text.getvalue().encode()))
    content = json.dumps(collected.more, indent=1, allow_nan=False) + "\n"
    write_whole(out / f"{item}.json", lambda file: file.write(content.encode()))


def read_item(out: Path, item: str) -> Item | None:
    """An item that was collected; None where it was not."""
    table = out / f"{item}.csv"
    if not table.is_file():
        return None
    with table.open(newline="") as file:
        rows = [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]
    return Item(rows, read_json(out / f"{item}.json"))


def _shorter(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _found(study: Study, experiment: str, follow_up: str, archs: Iterable[str] | None = None) -> list[_Found]:
    """What has finished of a command, given as <command>/<name>, by data set, architecture and seed."""
    found = []
    for dataset in DATASETS:
        for arch in study.scale.archs if archs is None else archs:
            for seed in study.seeds(arch):
                run = study.run(experiment, arch, dataset, seed)
                result = finished_result(run / follow_up)
                if result is not None:
                    found.append(_Found(dataset, arch, seed, run, run / follow_up, dict(result)))
    return found


def conditions(found: Sequence[_Found]) -> dict[str, Any]:
    """What made the results: versions, commits, devices, with how many runs each; times of training."""
    versions, commits, devices, systems = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    seconds: dict[str, list[float]] = {}
    for run, arch in {each.run: each.arch for each in found}.items():
        try:
            meta = read_json(run / META)
        except UserError:
            continue
        packages = {"dcgmm": meta["dcgmm"], "Python": meta["python"], **meta["packages"]}
        versions[", ".join(f"{name} {version}" for name, version in packages.items())] += 1
        git = meta["git"]
        commits[
            "not from a checkout" if git is None else git["sha"][:10] + (" with changes" if git["dirty"] else "")
        ] += 1
        devices[meta["starts"][-1]["device"]] += 1
        systems[meta["platform"].partition("-")[0]] += 1
        result = finished_result(run)
        if result is not None and isinstance(took := result.get("train_seconds"), int | float):
            seconds.setdefault(arch, []).append(float(took))
    return {
        "runs": sum(devices.values()),
        "versions": dict(versions),
        "commits": dict(commits),
        "devices": dict(devices),
        "systems": dict(systems),
        "train_seconds": {arch: round(sum(took) / len(took), 1) for arch, took in seconds.items()},
    }


# Table 1


def table1(study: Study, out: Path) -> Item:
    """Layers, shapes, positions, parameters and FLOPs of the eight configured architectures."""
    rows: list[Row] = []
    for arch in TABLE_1:
        layers = OmegaConf.to_container(OmegaConf.load(conf_dir() / "arch" / f"{arch}.yaml"))
        assert isinstance(layers, dict)
        descriptions = layers["layers"]
        model = DCGMM.build(IMAGE_SHAPE, descriptions)
        for number, (layer, description) in enumerate(zip(model.layers, descriptions, strict=True), start=1):
            shape = layer.output_shape
            assert isinstance(shape, tuple)
            height, width, channels = shape
            row = {
                "arch": arch,
                "number": number,
                "layer": layer_name(description),
                "height": height,
                "width": width,
                "channels": channels,
                "parameters": 0,
                "flops": 0,
            }
            if isinstance(layer, GMM):
                row["parameters"] = sum(value.numel() for value in layer.parameters())
                row["flops"] = 4 * height * width * layer.loc.numel()
            rows.append(row)
    return Item(rows, {"as_printed": _unbuildable()})


def _unbuildable() -> dict[str, str]:
    """Architectures that cannot be built as the paper prints them, with the reason."""
    found = {}
    for arch, printed in TABLE_1.items():
        try:
            DCGMM.build(IMAGE_SHAPE, [parse_layer(name) for name in printed.split()])
        except UserError as error:
            found[arch] = str(error)
    return found


def parse_layer(name: str) -> dict[str, Any]:
    """The configuration of a layer as table 1 writes it."""
    kind, numbers = name[0], [int(number) for number in name[2:-1].split(",")]
    if kind == "F":
        return {"type": "folding", "kernel": numbers[:2], "stride": numbers[2:]}
    return {"type": "pooling", "kernel": numbers} if kind == "P" else {"type": "gmm", "components": numbers[0]}


def layer_name(description: dict[str, Any]) -> str:
    """A layer of a configuration as table 1 writes it."""
    kernel, stride = description.get("kernel"), description.get("stride")
    match description["type"]:
        case "folding":
            return f"F({','.join(map(str, [*kernel, *(stride or [1, 1])]))})"  # type: ignore[misc]
        case "pooling":
            return f"P({','.join(map(str, kernel or ()))})"
        case _:
            return f"G({description['components']})"


# Table 2


def table2(study: Study, out: Path) -> Item:
    """Clustering figures of every run."""
    found = _found(study, ALL_CLASSES, "cluster/table2")
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
    found = _found(study, ALL_CLASSES, "visualize/figure2", ["2L-a"])[:1]
    for each in found:
        for name in ("centroids_gmm1", "centroids_gmm2", "walk"):
            save_small_copy(each.directory / "figures" / f"{name}.png", out / f"fig2-{name}.png")
    rows = [each.key | sparsity(each.run) | {"component": each.result["component"]} for each in found]
    return Item(rows, {"conditions": conditions(found)})


def sparsity(run: Path) -> Row:
    """How sparse the centroids of 2L-a's upper layer are: entries above a tenth of their position's largest."""
    state = load_checkpoint(run)
    model = DCGMM.build(state["input_shape"], state["config"]["arch"]["layers"])
    model.load_state_dict(state["model"])
    below, top = model.gmms["gmm1"], model.gmms["gmm2"]
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
    found = _found(study, FIRST_FIVE, "outliers/figure3")
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


def _by_model(found: Sequence[_Found]) -> dict[tuple[str, str], list[_Found]]:
    groups: dict[tuple[str, str], list[_Found]] = {}
    for each in found:
        groups.setdefault((each.dataset, each.arch), []).append(each)
    return groups


def _removed(each: _Found) -> Any:  # (T,)
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
    found = [each for each in _found(study, FIRST_FIVE, "sample/no_pixel_noise") if each.dataset == dataset]
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


def _repeated(each: _Found) -> float:
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
    everything: list[_Found] = []
    for setting in SHARPENINGS:
        found = [each for each in _found(study, FIRST_FIVE, f"sharpen/{setting}", ["2L-c"]) if each.dataset == dataset]
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
    found = _found(study, FIRST_FIVE, "sample/top_s", ["2L-c"])
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
