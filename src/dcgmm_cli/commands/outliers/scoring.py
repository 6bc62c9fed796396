"""Scoring new images, of which nothing is known."""

import csv
import io
import logging
import time
from collections.abc import Iterator, Mapping
from typing import IO

from torch import Tensor

from dcgmm.datasets.images import ImageBatch, require_some
from dcgmm.datasets.names import as_cell, printable
from dcgmm.datasets.pixels import warn_of
from dcgmm.files import write_whole
from dcgmm.outliers import Detector, worst_positions
from dcgmm_cli.commands.outliers.gallery import Gallery
from dcgmm_cli.commands.outliers.partly import Part
from dcgmm_cli.job import Job
from dcgmm_cli.schema import OutlierOptions

log = logging.getLogger(__name__)

SAY_EVERY = 10.0  # seconds between lines on the progress
COLUMNS = (
    *("file", "score", "standardised_score", "verdict"),
    *("worst_layer", "worst_row", "worst_column", "worst_standardised", "problem"),
)


def score(source: str, new: Iterator[Part], decisive: str, options: OutlierOptions, job: Job) -> None:
    """Score images into `scores.csv`, a line an image, and show some of them.

    Raises:
        InputError: an array file is damaged, none of the images can be used, or one that is to be shown is not there.
    """
    gallery = Gallery(options.count, options.images or [])
    counts = {"inlier": 0, "outlier": 0, "failed": 0}
    thresholds: set[float] = set()
    failures, several = list[tuple[str, str]](), list[str]()

    def score_part(batch: ImageBatch, detector: Detector, observed: Tensor | None) -> Iterator[list[object]]:
        thresholds.add(detector.threshold(decisive, options.c))
        report = detector.report(batch.images, observed)
        scores = report.scores[decisive].cpu()
        standardised = detector.standardised(decisive, scores)
        # What has no score (NaN) is no inlier.
        verdicts = ["inlier" if value >= -options.c else "outlier" for value in standardised.tolist()]
        gallery.add(batch.names, batch.images, standardised, verdicts, detector, observed)
        worst = worst_positions(detector.model, report.maps)
        for name, value, standard, verdict, where in zip(
            batch.names, scores.tolist(), standardised.tolist(), verdicts, worst, strict=True
        ):
            counts[verdict] += 1
            position = (where.layer, where.row, where.column, f"{where.standardised:.6g}")
            yield [as_cell(name), f"{value:.6g}", f"{standard:.6g}", verdict, *position, ""]

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")  # of names
        lines = csv.writer(text)
        lines.writerow(COLUMNS)
        said = time.monotonic()
        for part in new:
            batch = part.batch
            for name, reason in batch.failures:
                lines.writerow([as_cell(name), "", "", "failed", "", "", "", "", printable(reason)])
            counts["failed"] += len(batch.failures)
            failures.extend(batch.failures)
            several.extend(batch.several)
            if batch.names:
                lines.writerows(score_part(*part))
            if time.monotonic() > said + SAY_EVERY:
                said = time.monotonic()
                log.info("%d images so far: %s", sum(counts.values()), _in_words(counts))
        text.flush()
        text.detach()

    write_whole(job.directory / "scores.csv", write)
    job.result.update(
        score=decisive,
        c=options.c,
        threshold=thresholds.pop() if len(thresholds) == 1 else None,  # each mask has its own
        images=sum(counts.values()),
        inliers=counts["inlier"],
        outliers=counts["outlier"],
        failed=counts["failed"],
    )
    require_some(source, counts["inlier"] + counts["outlier"], failures)
    warn_of(source, sum(counts.values()), failures, several)
    gallery.save(options.c, job.directory / "figures")
    print(f"{decisive} at c={options.c:g}: {_in_words(counts)}")


def _in_words(counts: Mapping[str, int]) -> str:
    return f"{counts['inlier']} inliers, {counts['outlier']} outliers, {counts['failed']} that cannot be read"
