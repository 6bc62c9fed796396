"""Scoring new images, of which nothing is known."""

import csv
import io
import logging
import math
import time
from collections.abc import Iterator
from typing import IO, Any

import torch
from torch import Tensor

from dcgmm.datasets.images import ImageBatch, require_some
from dcgmm.datasets.names import as_cell, enumerated, printable
from dcgmm.datasets.pixels import warn_of, warn_of_stretched
from dcgmm.files import write_whole
from dcgmm.outliers import Detector, outlying_maps, worst_positions
from dcgmm_cli.commands.outliers.gallery import Gallery
from dcgmm_cli.commands.outliers.maps import Maps
from dcgmm_cli.commands.outliers.partly import Part
from dcgmm_cli.commands.outliers.threshold import c_of, far_positions, in_words, position_c
from dcgmm_cli.commands.outliers.verdicts import Verdict, Verdicts
from dcgmm_cli.job import Job
from dcgmm_cli.schema import OutlierOptions

log = logging.getLogger(__name__)

SAY_EVERY = 10.0  # seconds between lines on the progress
COLUMNS = (
    *("file", "score", "standardised_score", "p_value", "verdict"),
    *("worst_layer", "worst_row", "worst_column", "worst_standardised", "worst_p_value", "far_position", "problem"),
)


def score(source: str, new: Iterator[Part], decisive: str, options: OutlierOptions, job: Job) -> None:
    """Score images into `scores.csv`, a line an image, last those that cannot be used, and show some of them.

    Raises:
        InputError: an array file is damaged, none of the images can be used, or one that is to be shown is not there.
    """
    found = _Findings(decisive, options, job)
    table = job.directory / "scores.csv"
    write_whole(table, lambda file: found.write(new, file))
    job.result.update(found.result())
    found.warn(source)
    found.gallery.save(job.directory / "figures")
    found.maps.save()
    found.print()
    print(f"all verdicts with their scores: {table}")


class _Findings:
    """What is found of the images, part by part, and what is said of all of them."""

    def __init__(self, decisive: str, options: OutlierOptions, job: Job) -> None:
        self._decisive, self._options = decisive, options
        self.gallery = Gallery(options.count, options.images or [], decisive)
        self.maps = Maps(job.directory / "maps" if options.maps else None)
        self._verdicts = Verdicts()
        self._thresholds, self._cs = set[float](), set[float]()  # each mask has its own
        self._failures, self._several, self._overlooked = list[tuple[str, str]](), list[str](), list[str]()
        self._stretched, self._shape = list[tuple[int, int]](), torch.Size()

    def write(self, new: Iterator[Part], file: IO[bytes]) -> None:
        """Score all parts into a CSV file."""
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")  # of names
        lines = csv.writer(text)
        lines.writerow(COLUMNS)
        said = time.monotonic()
        for part in new:
            self._failures += part.batch.failures
            self._several += part.batch.several
            self._stretched += part.batch.stretched
            self._shape = part.batch.images.shape[1:3]
            if part.batch.names:
                lines.writerows(self._scored(*part))
            if time.monotonic() > said + SAY_EVERY:
                said = time.monotonic()
                log.info("%d images so far: %s", len(self._verdicts), self._verdicts)
        for name, reason in self._failures:
            lines.writerow([as_cell(name), "", "", "", "failed", *[""] * 6, printable(reason)])
        self._verdicts.add([Verdict(name, "failed", math.nan, "", "") for name, _ in self._failures])
        text.flush()
        text.detach()

    def _scored(self, batch: ImageBatch, detector: Detector, observed: Tensor | None) -> Iterator[list[object]]:
        """A line for each image of a part."""
        c = c_of(detector, self._decisive, self._options)
        self._cs.add(c)
        self._thresholds.add(detector.threshold(self._decisive, c))
        report = detector.report(batch.images, observed)
        scores = report.scores[self._decisive].cpu()
        standardised = detector.standardised(self._decisive, scores)
        # What has no score (NaN) is no inlier.
        verdicts = ["inlier" if value >= -c else "outlier" for value in standardised.tolist()]
        outlined = position_c(detector, self._options)
        self.gallery.add(batch.names, batch.images, standardised, verdicts, detector, outlined, observed)
        if self._options.maps:
            self.maps.add(batch.names, batch.images, outlying_maps(detector, report.maps))
        for name, value, standard, p, verdict, where, where_p, is_far in zip(
            batch.names,
            scores.tolist(),
            standardised.tolist(),
            _p_values(detector, self._decisive, scores),
            verdicts,
            worst_positions(detector.model, report.maps),
            _p_values(detector, "worst", report.scores["worst"]),
            far_positions(detector, report.scores["worst"]).tolist(),
            strict=True,
        ):
            place = f"{where.layer} {where.row}, {where.column}"
            self._verdicts.add([Verdict(name, verdict, value, p, place)])
            self._overlooked += [name] * (is_far and verdict == "inlier")
            position = (where.layer, where.row, where.column, f"{where.standardised:.6g}", where_p)
            marked = "yes" if is_far else ""
            yield [as_cell(name), f"{value:.6g}", f"{standard:.6g}", p, verdict, *position, marked, ""]

    def result(self) -> dict[str, Any]:
        """Figures over all images."""
        counts = self._verdicts.counts
        return {
            "score": self._decisive,
            "c": _only(self._cs),
            "false_alarms": self._options.false_alarms,
            "threshold": _only(self._thresholds),
            "images": len(self._verdicts),
            "inliers": counts["inlier"],
            "outliers": counts["outlier"],
            "failed": counts["failed"],
            "inliers_with_far_position": len(self._overlooked),
        }

    def warn(self, source: str) -> None:
        """Say which images could not be used, and how others were changed.

        Raises:
            InputError: none could be used.
        """
        counts = self._verdicts.counts
        require_some(source, counts["inlier"] + counts["outlier"], self._failures)
        warn_of(source, len(self._verdicts), self._failures, self._several)
        warn_of_stretched(source, len(self._verdicts), self._stretched, self._shape)

    def print(self) -> None:
        """Print verdicts: of the most outlying images, and in all."""
        self._verdicts.print_table()
        known = _only(self._cs)
        threshold = in_words(self._options, math.nan if known is None else known)
        print(f"{self._decisive} at {threshold}: {self._verdicts}")
        if self._overlooked:
            have = "has" if len(self._overlooked) == 1 else "have"
            print(
                f"{len(self._overlooked)} of the inliers {have} a position that is far out (far_position in "
                f"scores.csv; look at them by outliers.score=worst or auto): "
                f"{enumerated(list(map(printable, self._overlooked)))}"
            )


def _only(values: set[float]) -> float | None:
    """The value that holds for all images; each mask has its own."""
    return next(iter(values)) if len(values) == 1 else None


def _p_values(detector: Detector, name: str, scores: Tensor) -> list[str]:
    if detector.calibration is None:
        return [""] * len(scores)
    return [f"{p:.4g}" for p in detector.p_values(name, scores).tolist()]
