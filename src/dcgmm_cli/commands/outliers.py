"""`dcgmm outliers`: judge a trained model as a detector of outliers, or score new images with it."""

import csv
import io
import logging
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dcgmm_cli.config import DatasetConfig, OutliersConfig
from dcgmm_cli.datasets import NAMES, load
from dcgmm_cli.datasets.images import ImageBatch, iter_images, load_images
from dcgmm_cli.detection import Curve, Floats, detection_curve, judge
from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.localisation import at_pixels, centre_pixel, pixel_maps
from dcgmm_cli.model import Shape
from dcgmm_cli.outliers import COMBINED, JOINT, PIXELS, SCORES, Detector, ImageReport
from dcgmm_cli.plots import detection_figure, outlier_maps, save_figure, score_histograms
from dcgmm_cli.progress import ProgressBar
from dcgmm_cli.runs import write_whole
from dcgmm_cli.statistics import to_float
from dcgmm_cli.trained import TrainedRun, open_run

log = logging.getLogger(__name__)

CURVE = np.linspace(-2, 2, 41)  # values of c in the paper's figure 3
SAY_EVERY = 10.0  # seconds between lines on the progress of scoring
MARKED = (-2.0, -1.0, 0.0, 1.0, 2.0)
COLUMNS = (
    "file",
    "score",
    "standardised_score",
    "verdict",
    "worst_layer",
    "worst_row",
    "worst_column",
    "worst_standardised",
    "problem",
)


def run(
    config: OutliersConfig,
    overrides: list[str],
    directory: Path,
    result: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Judge the run's model by known outliers, or score the images of `input`, into `directory`; fill `result`.

    Raises:
        UserError: a value of the configuration cannot be, or images are missing or of another shape.
    """
    _check(config)
    trained = open_run(config, directory)
    if config.input is not None:
        new = iter_images(config.input, trained.model.input_shape, config.batch_size)
        _score_new(new, _detector(trained, config.batch_size), config, directory, result)
    else:
        outliers = _outliers(config, trained)  # first: what is wrong with them should not take long to tell
        inliers = _inliers(trained)
        _judge(inliers, outliers, _detector(trained, config.batch_size), config, directory, result)


def _check(config: OutliersConfig) -> None:
    options = config.outliers
    if not math.isfinite(options.c):
        raise UserError(f"outliers.c must be a finite number of standard deviations, as 1.5, not {options.c}")
    if options.score not in SCORES:
        raise UserError(f"outliers.score={options.score} is unknown; choose {', '.join(SCORES)}")
    if options.count < 0:
        raise UserError(f"outliers.count must be at least 0, not {options.count}")
    if config.batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {config.batch_size}")
    if options.dataset is not None and options.dataset not in (known := [name for name in NAMES if name != "folder"]):
        raise UserError(f"outliers.dataset={options.dataset} is unknown; choose {', '.join(known)}")
    given = {"classes": options.classes, "dataset": options.dataset, "path": options.path}
    named = [f"outliers.{key}" for key, value in given.items() if value is not None]
    if config.input is not None and named:
        raise UserError(f"input={config.input} scores images that have no labels: leave out {', '.join(named)}")
    if options.path is not None and len(named) > 1:
        raise UserError(f"outliers.path={options.path} names the outliers by itself: leave out {', '.join(named[:-1])}")


def _detector(trained: TrainedRun, batch_size: int) -> Detector:
    """The detector that training left in the checkpoint, or else one fitted to the run's training images."""
    # A run that has not ended has no statistics, one of an earlier version none of the newest score.
    if PIXELS in trained.checkpoint.get("image_statistics", {}):
        return Detector.from_state(trained.model, trained.checkpoint)
    images = trained.data().train.images
    log.info("measuring the scores of %d training images", len(images))
    return Detector.fit(trained.model, images.to(trained.model.device), batch_size)


@dataclass(frozen=True)
class _Known:
    """Images of one kind."""

    images: Tensor  # (N, H, W, C) uint8 or float in [0, 1]
    labels: Tensor  # (N,), -1 where unknown
    names: list[str] | None  # file names, for images that come from files
    description: str


def _inliers(trained: TrainedRun) -> _Known:
    data = trained.data()
    if not len(data.test):
        raise UserError(f"{data.name} has no test images of the run's classes: set aside some by dataset.holdout")
    classes = trained.config.dataset.classes
    return _Known(data.test.images, data.test.labels, None, _describe(data.name, classes))


def _outliers(config: OutliersConfig, trained: TrainedRun) -> _Known:
    """The images that count as outliers.

    Raises:
        UserError: there are none, they were trained on, or they have another shape than the model's.
    """
    options, own, shape = config.outliers, trained.config.dataset, trained.model.input_shape
    if options.path is not None:
        return _read_outliers(options.path, shape)
    if options.dataset not in (None, own.name):
        other = replace(own, name=options.dataset, classes=None, path=None, size=None, color=False)
        dataset = replace(other, classes=_known_classes(options.classes, load(replace(other, limit=1)).class_names))
    else:
        dataset = replace(own, classes=_untrained(options.classes, own, trained.checkpoint["class_names"]))
    test = load(dataset).test
    if tuple(test.images.shape[1:]) != tuple(shape):
        given = "x".join(map(str, test.images.shape[1:]))
        raise UserError(f"outliers.dataset={dataset.name} has images of {given}, the model takes {shape}")
    if not len(test):
        raise UserError(f"{_describe(dataset.name, dataset.classes)} has no test images to be outliers")
    return _Known(test.images, test.labels, None, _describe(dataset.name, dataset.classes))


def _read_outliers(path: str, shape: Shape) -> _Known:
    batch = load_images(path, shape)
    for name, reason in batch.failures[:10]:
        log.warning("left out %s: %s", name, reason)
    count, failed = len(batch.names), len(batch.failures)
    if not count:
        raise UserError(f"outliers.path={path}: none of its {failed} images can be used: {batch.failures[0][1]}")
    if failed:
        log.warning("left out %d of %d images of %s", failed, failed + count, path)
    return _Known(batch.images, torch.full((count,), -1), batch.names, path)


def _known_classes(classes: list[int] | None, names: Sequence[str], but: Collection[int] = ()) -> list[int] | None:
    """Outlier classes as given, checked.

    Raises:
        UserError: there is no such class, or none is given.
    """
    has = ", ".join(f"{label} ({name})" for label, name in enumerate(names) if label not in but)
    if classes == []:
        raise UserError(f"outliers.classes is empty: name some of {has}")
    if unknown := [label for label in classes or () if not 0 <= label < len(names)]:
        raise UserError(f"outliers.classes: there is no class {', '.join(map(str, unknown))}; choose from {has}")
    return classes


def _untrained(classes: list[int] | None, own: DatasetConfig, names: Sequence[str]) -> list[int]:
    """Outlier classes of the run's own data set.

    Raises:
        UserError: a class was trained on, or none is left.
    """
    trained = set(range(len(names)) if own.classes is None else own.classes)
    others = [label for label in range(len(names)) if label not in trained]
    if not others:
        raise UserError(
            f"the run was trained on all classes of {own.name}, which leaves no outliers: give outliers.dataset=NAME "
            "or outliers.path=FOLDER, or train on some classes only (dataset.classes=[0,1,2])"
        )
    chosen = _known_classes(classes, names, trained)
    if both := [label for label in chosen or () if label in trained]:
        raise UserError(
            f"outliers.classes: the run was trained on {', '.join(map(str, both))}; "
            f"choose from the others, {', '.join(map(str, others))}"
        )
    return others if chosen is None else chosen


def _describe(name: str, classes: list[int] | None) -> str:
    return name if classes is None else f"{name} {','.join(map(str, classes))}"


def _judge(
    inliers: _Known,
    outliers: _Known,
    detector: Detector,
    config: OutliersConfig,
    directory: Path,
    result: dict[str, Any],
) -> None:
    """Figures of every score, curve, histograms, maps and scores of all images."""
    c, decisive = config.outliers.c, detector.name_of(config.outliers.score)
    names = [str(row) for row in range(len(inliers.labels))]
    names += outliers.names or [str(len(names) + row) for row in range(len(outliers.labels))]
    gallery = _Gallery(config.outliers.count, config.outliers.images or [])
    gallery.require(names)
    log.info("inliers: %d of %s; outliers: %d of %s", *_counts(inliers), *_counts(outliers))
    inside, outside = (_scores(detector, known.images, config.batch_size) for known in (inliers, outliers))
    figures = {name: judge(inside[name], outside[name]) for name in inside}
    curves = {name: _curve(detector, name, CURVE, inside, outside) for name in _drawn(detector, decisive)}
    kept, removed = _curve(detector, decisive, np.array([c]), inside, outside)
    result.update(
        score=decisive,
        c=c,
        threshold=detector.threshold(decisive, c),
        inliers={"images": len(inliers.labels), "source": inliers.description, "kept": float(kept[0])},
        outliers={"images": len(outliers.labels), "source": outliers.description, "removed": float(removed[0])},
        auroc={layer: figures[detector.name_of("log_prob", layer)].auroc for layer in detector.layers},
        detection={name: figure._asdict() for name, figure in figures.items()},
        curve={
            "c": CURVE.tolist(),
            "inliers_kept": curves[decisive].inliers_kept.tolist(),
            "outliers_removed": curves[decisive].outliers_removed.tolist(),
        },
    )
    result["auroc"].update(top=figures[detector.name_of("log_prob")].auroc)
    result["auroc"].update({name: figures[name].auroc for name in (COMBINED, JOINT, PIXELS)})

    arrays: dict[str, Any] = {name: np.concatenate([inside[name], outside[name]]) for name in inside}
    arrays |= {
        "name": np.array(names),
        "label": torch.cat([inliers.labels, outliers.labels]).numpy(),
        "outlier": np.repeat([False, True], [len(inliers.labels), len(outliers.labels)]),
    }
    write_whole(directory / "scores.npz", lambda file: np.savez_compressed(file, **arrays))

    figure_folder = directory / "figures"
    marks = np.array(sorted({*MARKED, c}))
    at_marks = _curve(detector, decisive, marks, inside, outside)
    marked = {decisive: list(zip(marks.tolist(), *(part.tolist() for part in at_marks), strict=True))}
    save_figure(detection_figure(curves, marked), figure_folder / "curve.png")
    groups = {
        name: {
            kind: detector.standardised(name, torch.from_numpy(scores[name])).numpy()
            for kind, scores in (("inliers", inside), ("outliers", outside))
        }
        for name in curves
    }
    save_figure(score_histograms(groups, {decisive: -c}), figure_folder / "histograms.png")
    standardised = detector.standardised(decisive, torch.from_numpy(arrays[decisive]))
    for known, start in ((inliers, 0), (outliers, len(inliers.labels))):
        stop = start + len(known.labels)
        titles = [f"label {label}" if label >= 0 else "outlier" for label in known.labels.tolist()]
        gallery.add(names[start:stop], known.images, standardised[start:stop], titles)
    gallery.save(detector, c, figure_folder)
    _print_table(detector, decisive, result)


def _counts(known: _Known) -> tuple[int, str]:
    return len(known.labels), known.description


def _scores(detector: Detector, images: Tensor, batch_size: int) -> dict[str, Floats]:
    """All scores of images, by name."""
    parts: list[dict[str, Tensor]] = []
    with ProgressBar("score", len(images), "images") as bar:
        for report in detector.reports(images, batch_size):
            parts.append({name: values.cpu() for name, values in report.scores.items()})
            bar.update(min(len(parts) * batch_size, len(images)))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _drawn(detector: Detector, decisive: str) -> list[str]:
    """Scores that figures show: the paper's in every layer, the default one, and the one that decides."""
    names = [detector.name_of("log_prob", layer) for layer in detector.layers]
    return list(dict.fromkeys([*names, JOINT, decisive]))


def _curve(
    detector: Detector, name: str, values: Floats, inside: Mapping[str, Floats], outside: Mapping[str, Floats]
) -> Curve:
    thresholds = np.array([detector.threshold(name, float(value)) for value in values])
    return detection_curve(inside[name], outside[name], thresholds)


def _print_table(detector: Detector, decisive: str, result: dict[str, Any]) -> None:
    kept, removed = result["inliers"]["kept"], result["outliers"]["removed"]
    title = f"{result['inliers']['source']} against {result['outliers']['source']}"
    caption = f"{decisive} at c={result['c']:g}: {kept:.1%} of the inliers kept, {removed:.1%} of the outliers removed"
    table = Table(title=title, caption=caption)
    for column in ("score", "AUROC", "AP inliers", "AP outliers", "FPR at 95%"):
        table.add_column(column, justify="left" if column == "score" else "right")
    for name, figures in result["detection"].items():
        table.add_row(name, *(f"{value:.4f}" for value in figures.values()), style="bold" if name == decisive else None)
    Console().print(table)


def _score_new(
    new: Iterator[ImageBatch], detector: Detector, config: OutliersConfig, directory: Path, result: dict[str, Any]
) -> None:
    """Score unlabelled images into `scores.csv`, a line an image, and show some of them."""
    c, decisive = config.outliers.c, detector.name_of(config.outliers.score)
    gallery = _Gallery(config.outliers.count, config.outliers.images or [])
    counts = {"inlier": 0, "outlier": 0, "failed": 0}

    def score_batch(batch: ImageBatch) -> Iterator[list[object]]:
        report = detector.report(batch.images.to(detector.model.device, detector.model.dtype))
        scores = report.scores[decisive].cpu()
        standardised = detector.standardised(decisive, scores)
        verdicts = ["outlier" if value < -c else "inlier" for value in standardised.tolist()]
        gallery.add(batch.names, batch.images, standardised, verdicts)
        worst = _worst_positions(detector, report)
        for name, score, standard, verdict, position in zip(
            batch.names, scores.tolist(), standardised.tolist(), verdicts, worst, strict=True
        ):
            counts[verdict] += 1
            yield [name, f"{score:.6g}", f"{standard:.6g}", verdict, *position, ""]

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        lines = csv.writer(text)
        lines.writerow(COLUMNS)
        said = time.monotonic()
        for batch in new:
            for name, reason in batch.failures:
                lines.writerow([name, "", "", "failed", "", "", "", "", reason])
            counts["failed"] += len(batch.failures)
            if batch.names:
                lines.writerows(score_batch(batch))
            if time.monotonic() > said + SAY_EVERY:
                said = time.monotonic()
                log.info("%d images so far: %s", sum(counts.values()), _in_words(counts))
        text.flush()
        text.detach()

    write_whole(directory / "scores.csv", write)
    result.update(
        score=decisive,
        c=c,
        threshold=detector.threshold(decisive, c),
        images=sum(counts.values()),
        inliers=counts["inlier"],
        outliers=counts["outlier"],
        failed=counts["failed"],
    )
    gallery.save(detector, c, directory / "figures")
    print(f"{decisive} at c={c:g}: {_in_words(counts)}")


def _in_words(counts: Mapping[str, int]) -> str:
    return f"{counts['inlier']} inliers, {counts['outlier']} outliers, {counts['failed']} that cannot be read"


def _worst_positions(detector: Detector, report: ImageReport) -> list[tuple[str, int, int, str]]:
    """For each image the layer, pixel row, pixel column and value of its most outlying position.

    Layers with a single position do not localise: they are asked only if there is no other.
    """
    several = {name: maps for name, maps in report.maps.items() if maps[0].numel() > 1} or report.maps
    found = {name: maps.flatten(1).min(1) for name, maps in several.items()}
    worst = []
    for row in range(len(next(iter(found.values())).values)):
        name = min(found, key=lambda layer: float(found[layer].values[row]))
        columns = several[name].shape[2]
        position = divmod(int(found[name].indices[row]), columns)
        pixel = centre_pixel(detector.model, name, *position)
        worst.append((name, *pixel, f"{float(found[name].values[row]):.6g}"))
    return worst


@dataclass(frozen=True)
class _Shown:
    standardised: float
    name: str
    image: Tensor  # (H, W, C)
    note: str


class _Gallery:
    """The images to show: the most and the least outlying ones, and those that are named."""

    def __init__(self, count: int, named: Sequence[str]) -> None:
        self._count, self._named = count, set(named)
        self._groups: dict[str, list[_Shown]] = {"most_outlying": [], "least_outlying": [], "named": []}

    def add(self, names: Sequence[str], images: Tensor, standardised: Tensor, notes: Sequence[str]) -> None:
        """Look at some more images."""
        order = standardised.argsort().tolist()
        count = self._count
        wanted = {
            "most_outlying": order[:count],
            "least_outlying": order[::-1][:count],
            "named": [row for row, name in enumerate(names) if name in self._named],
        }
        for group, rows in wanted.items():
            self._groups[group] += [_Shown(float(standardised[i]), names[i], images[i].clone(), notes[i]) for i in rows]
        self._groups["most_outlying"] = sorted(self._groups["most_outlying"], key=lambda s: s.standardised)[:count]
        self._groups["least_outlying"] = sorted(self._groups["least_outlying"], key=lambda s: -s.standardised)[:count]

    def save(self, detector: Detector, c: float, folder: Path) -> None:
        """Draw each group's images beside the maps of all GMM layers.

        Raises:
            UserError: a named image was not among those looked at.
        """
        self.require([shown.name for shown in self._groups["named"]])
        for group, shown in self._groups.items():
            if shown:
                save_figure(_map_figure(shown, detector, c), folder / f"{group}.png")

    def require(self, names: Collection[str]) -> None:
        """Check that all images to be named are among those called `names`.

        Raises:
            UserError: one is not.
        """
        if missing := sorted(self._named.difference(names)):
            raise UserError(f"outliers.images: no usable image is called {', '.join(missing)}; names are in the scores")


def _map_figure(shown: Sequence[_Shown], detector: Detector, c: float) -> Figure:
    model = detector.model
    images = torch.stack([to_float(item.image, model.dtype) for item in shown])  # bytes and numbers in [0, 1], mixed
    maps = detector.report(images.to(model.device)).maps
    titles = [f"{item.name}, {item.note}: {item.standardised:.1f}" for item in shown]
    return outlier_maps(
        images,
        titles,
        {name: pixel_maps(model, name, values) for name, values in maps.items()},
        {name: at_pixels(model, name, values < -c) for name, values in maps.items()},
    )
