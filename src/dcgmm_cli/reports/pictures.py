"""What the pictures in run directories show, in words: for people who do not see them."""

import re
from pathlib import Path

from dcgmm_cli.reports.content import Picture

_SUFFIXES = {".png", ".jpg", ".jpeg"}
# Beginning of a file's name -> what it shows; {} is the rest of the name.
_SHOWN = {
    "training": "training curves: log-likelihood, sigma and learning rate of each GMM layer over the epochs",
    "centroids_": "centroids of the components of {}, as patches",
    "variances_": "variances of the components of {}, as patches",
    "mean_images_": "mean image that each component of {} generates",
    "factors_": "centroids of {} and what their strongest factors add",
    "weights_": "mixture weights of {} and the use of its components",
    "walk": "how a component of the last GMM layer becomes an image, layer by layer",
    "samples_top": "images drawn from the model, top {}",
    "variants_top": "images beside variants that the model draws of them, top {}",
    "before": "images before sharpening",
    "after": "images after sharpening",
    "sharpening": "images before and after sharpening, and the difference",
    "log_likelihood": "log-likelihood over the steps of sharpening",
    "completions": "images, what is missing of them, and how they are completed",
    "curve": "share of inliers kept against share of outliers removed",
    "histograms": "histograms of the scores of inliers and outliers",
    "most_outlying": "the most outlying images, each with a map of where it is outlying",
    "least_outlying": "the least outlying images, each with a map of where it is outlying",
    "named": "the images that were asked for, each with a map of where it is outlying",
    "clusters": "the images nearest to each cluster's mean",
    "classes": "how many images of each class each cluster has",
}


def pictures_of(directory: Path) -> list[Picture]:
    """The pictures of a run or follow-up, in the order of their names."""
    files = sorted((directory / "figures").glob("*"), key=lambda path: _natural(path.name))
    return [Picture(path, alt_text(path.stem)) for path in files if path.suffix.lower() in _SUFFIXES]


def alt_text(stem: str) -> str:
    """What a picture shows, by its file's name without the ending.

    Examples:
        >>> alt_text("samples_top10")
        'images drawn from the model, top 10'
    """
    fitting = [start for start in _SHOWN if stem.startswith(start)]
    longest = max(fitting, key=len, default=None)
    if longest is None:
        return stem.replace("_", " ")
    rest = stem.removeprefix(longest)
    return _SHOWN[longest].format(rest) if "{}" in _SHOWN[longest] else _SHOWN[longest] + rest.replace("_", " ")


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that puts top5 before top10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
