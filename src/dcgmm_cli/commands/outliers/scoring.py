"""Scoring new images, of which nothing is known."""

import csv
import io
import logging
import math
import time
from collections.abc import Iterator
from typing import IO

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
    gallery = Gallery(options.count, options.images or [])
    maps = Maps(job.directory / "maps" if options.maps else None)
    found = Verdicts()
    thresholds, cs = set[float](), set[float]()
    failures, several, overlooked = list[tuple[str, str]](), list[str](), list[str]()
    stretched, shape = list[tuple[int, int]](), torch.Size()

    def score_part(batch: ImageBatch, detector: Detector, observed: Tensor | None) -> Iterator[list[object]]:
        c = c_of(detector, decisive, options)
        cs.add(c)
        thresholds.add(detector.threshold(decisive, c))
        report = detector.report(batch.images, observed)
        scores = report.scores[decisive].cpu()
        standardised = detector.standardised(decisive, scores)
        # What has no score (NaN) is no inlier.
        verdicts = ["inlier" if value >= -c else "outlier" for value in standardised.tolist()]
        outlined = position_c(detector, options)
        gallery.add(batch.names, batch.images, standardised, verdicts, detector, outlined, observed)
        if options.maps:
            maps.add(batch.names, batch.images, outlying_maps(detector, report.maps))
        worst = worst_positions(detector.model, report.maps)
        p_values, worst_p = (_p_values(detector, name, report.scores[name]) for name in (decisive, "worst"))
        far = far_positions(detector, report.scores["worst"]).tolist()
        for name, value, standard, p, verdict, where, where_p, is_far in zip(
            batch.names,
            scores.tolist(),
            standardised.tolist(),
            p_values,
            verdicts,
            worst,
            worst_p,
            far,
            strict=True,
        ):
            place = f"{where.layer} {where.row}, {where.column}"
            found.add([Verdict(name, verdict, value, p, place)])
            overlooked.extend([name] * (is_far and verdict == "inlier"))
            position = (where.layer, where.row, where.column, f"{where.standardised:.6g}", where_p)
            marked = "yes" if is_far else ""
            yield [as_cell(name), f"{value:.6g}", f"{standard:.6g}", p, verdict, *position, marked, ""]

    def write(file: IO[bytes]) -> None:
        nonlocal shape
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")  # of names
        lines = csv.writer(text)
        lines.writerow(COLUMNS)
        said = time.monotonic()
        for part in new:
            batch = part.batch
            failures.extend(batch.failures)
            several.extend(batch.several)
            stretched.extend(batch.stretched)
            shape = batch.images.shape[1:3]
            if batch.names:
                lines.writerows(score_part(*part))
            if time.monotonic() > said + SAY_EVERY:
                said = time.monotonic()
                log.info("%d images so far: %s", len(found), found)
        for name, reason in failures:
            lines.writerow([as_cell(name), "", "", "", "failed", *[""] * 6, printable(reason)])
        found.add([Verdict(name, "failed", math.nan, "", "") for name, _ in failures])
        text.flush()
        text.detach()

    table = job.directory / "scores.csv"
    write_whole(table, write)
    counts = found.counts
    job.result.update(
        score=decisive,
        c=_only(cs),
        false_alarms=options.false_alarms,
        threshold=_only(thresholds),
        images=len(found),
        inliers=counts["inlier"],
        outliers=counts["outlier"],
        failed=counts["failed"],
        inliers_with_far_position=len(overlooked),
    )
    require_some(source, counts["inlier"] + counts["outlier"], failures)
    warn_of(source, len(found), failures, several)
    warn_of_stretched(source, len(found), stretched, shape)
    gallery.save(job.directory / "figures")
    maps.save()
    found.print_table()
    known = _only(cs)
    print(f"{decisive} at {in_words(options, math.nan if known is None else known)}: {found}")
    if overlooked:
        have = "has" if len(overlooked) == 1 else "have"
        print(
            f"{len(overlooked)} of the inliers {have} a position that is far out (far_position in scores.csv; "
            f"look at them by outliers.score=worst or auto): {enumerated(list(map(printable, overlooked)))}"
        )
    print(f"all verdicts with their scores: {table}")


def _only(values: set[float]) -> float | None:
    """The value that holds for all images; each mask has its own."""
    return next(iter(values)) if len(values) == 1 else None


def _p_values(detector: Detector, name: str, scores: Tensor) -> list[str]:
    if detector.calibration is None:
        return [""] * len(scores)
    return [f"{p:.4g}" for p in detector.p_values(name, scores).tolist()]
