"""Classifying new images, of which nothing is known."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import torch
from torch import Tensor

from dcgmm.classification import Classifier, log_posteriors
from dcgmm.datasets.images import ImageBatch
from dcgmm.datasets.names import as_cell, counted
from dcgmm.files import write_whole
from dcgmm_cli.job import Job


def classify(
    new: ImageBatch,
    observed: Tensor | None,  # (N, H, W)
    classifiers: Mapping[str, Classifier],
    class_names: Sequence[str],
    job: Job,
) -> None:
    """Write `classes.csv`: each image's most likely class and p(c | x), by every classifier."""
    names = [class_names[label] for label in next(iter(classifiers.values())).classes]
    posteriors = {name: each.exp() for name, each in log_posteriors(classifiers, new.images, observed).items()}

    def rows() -> Iterator[list[str]]:
        found = {name: [names[best] for best in each.argmax(-1).tolist()] for name, each in posteriors.items()}
        shares = torch.cat(list(posteriors.values()), -1).tolist()
        for row, file in enumerate(new.names):
            best = [as_cell(each[row]) for each in found.values()]
            yield [as_cell(file), *best, *(f"{value:.6g}" for value in shares[row]), ""]
        empty = [""] * (len(posteriors) * (1 + len(names)))
        for file, reason in new.failures:
            yield [as_cell(file), *empty, reason]

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        lines = csv.writer(text)
        lines.writerow(["file", *posteriors, *(f"{each}_p_{name}" for each in posteriors for name in names), "problem"])
        lines.writerows(rows())
        text.flush()
        text.detach()

    write_whole(job.directory / "classes.csv", write)
    job.result.update(images=len(new.names), failed=len(new.failures), classes=names)
    print(f"{counted(len(new.names), 'image')} classified, {len(new.failures)} that cannot be used")
