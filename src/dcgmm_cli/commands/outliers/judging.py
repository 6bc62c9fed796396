"""Judging a detector by known inliers and outliers."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from dcgmm.files import write_whole
from dcgmm.outliers import Detector, Evaluation, evaluate
from dcgmm.outliers.options import MODEL_SCORES, VOTE
from dcgmm_cli.commands.outliers.gallery import Gallery
from dcgmm_cli.commands.outliers.known import Known
from dcgmm_cli.commands.outliers.maps import Maps, has_masks, judged, maps_of
from dcgmm_cli.commands.outliers.threshold import c_of, far_positions, in_words, position_c
from dcgmm_cli.figures.base import save_figure
from dcgmm_cli.figures.outliers import detection_figure, score_histograms
from dcgmm_cli.job import Job
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.schema import OutliersConfig
from dcgmm_cli.terminal import print_table

log = logging.getLogger(__name__)

CURVE = np.linspace(-2, 2, 41).tolist()  # values of c in the paper's figure 3
MARKED = (-2.0, -1.0, 0.0, 1.0, 2.0)
DRAWN = "joint"  # beside the layers' log-likelihoods and the score that decides


def judge(
    inliers: Known,
    outliers: Known,
    observed: Tensor | None,  # (n + m, H, W) bool
    detector: Detector,
    decisive: str,
    config: OutliersConfig,
    job: Job,
) -> None:
    """Figures of every score, curve, histograms, maps and scores of all images, of which all or a part was seen.

    Raises:
        InputError: an image that is to be shown is none of them.
    """
    c, figures = c_of(detector, decisive, config.outliers), job.directory / "figures"
    gallery = Gallery(config.outliers.count, config.outliers.images or [], decisive)
    names = every = _names(inliers, outliers)
    gallery.require(names)
    for kind, known in (("inliers", inliers), ("outliers", outliers)):
        log.info("%s: %d of %s", kind, len(known), known.source)
    with ProgressBar("score", len(inliers) + len(outliers), "images") as bar:
        masks = None if observed is None else (observed[: len(inliers)], observed[len(inliers) :])
        evaluation = evaluate(detector, inliers.images, outliers.images, config.batch_size, bar.update, masks)
    if observed is not None:
        job.result["missing_share"] = float((~observed).float().mean())
    job.result.update(_result(evaluation, decisive, c, inliers, outliers))
    job.result["false_alarms"] = config.outliers.false_alarms
    _save_scores(evaluation, names, inliers, outliers, job.directory / "scores.npz")
    _save_figures(evaluation, decisive, c, figures)
    standardised, outlined = evaluation.standardised(decisive), position_c(detector, config.outliers)
    for known, values, seen in zip((inliers, outliers), standardised, masks or (None, None), strict=True):
        titles = [f"class {known.class_names[label]}" if label >= 0 else "outlier" for label in known.labels.tolist()]
        own, names = names[: len(known)], names[len(known) :]
        gallery.add(own, known.images, torch.from_numpy(values), titles, detector, outlined, seen)
    gallery.save(figures)
    _judge_maps(inliers, outliers, every, observed, detector, config, job)
    _print_table(decisive, in_words(config.outliers, c), job.result)


def _judge_maps(
    inliers: Known,
    outliers: Known,
    names: list[str],
    observed: Tensor | None,
    detector: Detector,
    config: OutliersConfig,
    job: Job,
) -> None:
    """Draw maps if they are asked for, and judge them if there are masks of defects and p-values."""
    options, marked = config.outliers, has_masks(outliers) and detector.calibration is not None
    if not (options.maps or marked):
        return
    maps, first, found = Maps(job.directory / "maps" if options.maps else None), 0, list[Tensor]()
    for known in (inliers, outliers):
        rows = slice(first, first + len(known))
        first = rows.stop
        seen = None if observed is None else observed[rows]
        found.append(maps_of(detector, known.images, config.batch_size, seen))
        maps.add(names[rows], known.images, found[-1])
    maps.save()
    figures = judged(found[0], found[1], outliers.masks or ()) if marked else None
    if figures is not None:
        job.result["where"] = figures._asdict()


def _names(inliers: Known, outliers: Known) -> list[str]:
    """A name for every image: its file's, or its row in `scores.npz`."""
    first = len(inliers)
    return [
        *(inliers.names or map(str, range(first))),
        *(outliers.names or map(str, range(first, first + len(outliers)))),
    ]


def _result(evaluation: Evaluation, decisive: str, c: float, inliers: Known, outliers: Known) -> dict[str, Any]:
    detector, figures = evaluation.detector, evaluation.figures()
    kept, removed = (float(part[0]) for part in evaluation.curve(decisive, [c]))
    curve = evaluation.curve(decisive, CURVE)
    far = [_overlooked(detector, scores, decisive, c) for scores in (evaluation.inliers, evaluation.outliers)]
    likelihoods = {layer: detector.name_of("log_prob", layer) for layer in detector.layers}
    likelihoods["top"] = detector.name_of("log_prob")
    return {
        "score": decisive,
        "c": c,
        "threshold": detector.threshold(decisive, c),
        "inliers": _described(inliers) | {"kept": kept, "far_position": far[0]},
        "outliers": _described(outliers) | {"removed": removed, "far_position": far[1]},
        "auroc": {key: figures[name].auroc for key, name in likelihoods.items()}
        | {name: figures[name].auroc for name in (*MODEL_SCORES, VOTE) if name in figures},
        "detection": {name: figure._asdict() for name, figure in figures.items()},
        "curve": {
            "c": CURVE,
            "inliers_kept": curve.inliers_kept.tolist(),
            "outliers_removed": curve.outliers_removed.tolist(),
        },
    }


def _overlooked(detector: Detector, scores: Mapping[str, NDArray[Any]], decisive: str, c: float) -> int:
    """How many images are called inliers that have a position far out."""
    far = far_positions(detector, torch.from_numpy(scores["worst"])).numpy()
    return int((far & (scores[decisive] >= detector.threshold(decisive, c))).sum())


def _described(known: Known) -> dict[str, Any]:
    return {"images": len(known), "failed": known.failed, "source": known.source, "classes": known.classes}


def _save_scores(evaluation: Evaluation, names: list[str], inliers: Known, outliers: Known, path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate([scores, evaluation.outliers[name]]) for name, scores in evaluation.inliers.items()
    }
    arrays |= {
        "name": np.array(names),
        "label": torch.cat([inliers.labels, outliers.labels]).numpy(),
        "outlier": np.repeat([False, True], [len(inliers), len(outliers)]),
    }
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]  # NumPy's stub


def _save_figures(evaluation: Evaluation, decisive: str, c: float, folder: Path) -> None:
    """The detection curve and the histograms: of the paper's score in every layer, and of the ones that decide."""
    detector = evaluation.detector
    layers = [detector.name_of("log_prob", layer) for layer in detector.layers]
    drawn = list(dict.fromkeys([*layers, DRAWN, decisive]))
    marks = sorted({*MARKED, c})
    kept, removed = evaluation.curve(decisive, marks)
    marked = {decisive: list(zip(marks, kept.tolist(), removed.tolist(), strict=True))}
    curves = {name: evaluation.curve(name, CURVE) for name in drawn}
    save_figure(detection_figure(curves, marked), folder / "curve.png")
    groups = {name: dict(zip(("inliers", "outliers"), evaluation.standardised(name), strict=True)) for name in drawn}
    save_figure(score_histograms(groups, {decisive: -c}), folder / "histograms.png")


def _print_table(decisive: str, threshold: str, result: dict[str, Any]) -> None:
    kept, removed = result["inliers"]["kept"], result["outliers"]["removed"]
    title = f"{result['inliers']['source']} against {result['outliers']['source']}"
    caption = f"{decisive} at {threshold}: {kept:.1%} of the inliers kept, {removed:.1%} of the outliers removed"
    far = [result[kind]["far_position"] for kind in ("inliers", "outliers")]
    if any(far):
        caption += f"\ncalled inliers, but with a position far out: {far[0]} inliers, {far[1]} outliers"
        if decisive != "auto":
            caption += " (for defects: outliers.score=auto)"
    if where := result.get("where"):
        caption += "\nwhere: pixel AUROC {pixel_auroc:.4f}, PRO {pro:.4f}, F1 {f1:.4f}".format(**where)
    table = Table(title=title, caption=caption)
    for column in ("score", "AUROC", "AP inliers", "AP outliers", "FPR at 95%"):
        table.add_column(column, justify="left" if column == "score" else "right")
    for name, figures in result["detection"].items():
        table.add_row(name, *(f"{value:.4f}" for value in figures.values()), style="bold" if name == decisive else None)
    print_table(table)
