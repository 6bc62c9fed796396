"""The images to show: the most and the least outlying ones, and those that are named."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.images import to_float
from dcgmm.outliers import Detector, WorstPosition, worst_positions
from dcgmm.outliers.localisation import at_pixels, pixel_maps
from dcgmm_cli.figures.base import drawable, save_figure
from dcgmm_cli.figures.outliers import outlier_maps

LONGEST = 24  # signs of a line over an image


@dataclass(frozen=True)
class Shown:
    """An image with what is written over it."""

    standardised: float
    name: str
    image: Tensor  # (H, W, C)
    note: str
    detector: Detector
    c: float  # deviations under which a position is outlined
    observed: Tensor | None = None  # (H, W) bool; None: all was seen


class Gallery:
    """Images to show, picked while all are looked at.

    Args:
        count: of the most outlying images, and of the least.
        named: names of images that are shown as well.
        decisive: name of the score that images are judged by.
    """

    def __init__(self, count: int, named: Sequence[str], decisive: str) -> None:
        self._count, self._named = count, set(map(str, named))  # rows of scores.npz are given as numbers
        self._decisive = decisive
        self._groups: dict[str, list[Shown]] = {"most_outlying": [], "least_outlying": [], "named": []}

    def add(
        self,
        names: Sequence[str],
        images: Tensor,  # (N, H, W, C)
        standardised: Tensor,  # (N,)
        notes: Sequence[str],
        detector: Detector,
        c: float,
        observed: Tensor | None = None,  # (N, H, W) bool; None: all was seen
    ) -> None:
        """Look at some more images, which the detector has judged; positions under c deviations are outlined."""
        seen = [None] * len(names) if observed is None else observed
        order = standardised.argsort().tolist()
        count = self._count
        wanted = {
            "most_outlying": order[:count],
            "least_outlying": order[::-1][:count],
            "named": [row for row, name in enumerate(names) if name in self._named],
        }
        for group, rows in wanted.items():
            self._groups[group] += [
                Shown(float(standardised[i]), names[i], images[i].clone(), notes[i], detector, c, seen[i]) for i in rows
            ]
        self._groups["most_outlying"] = sorted(self._groups["most_outlying"], key=lambda s: s.standardised)[:count]
        self._groups["least_outlying"] = sorted(self._groups["least_outlying"], key=lambda s: -s.standardised)[:count]

    def save(self, folder: Path) -> None:
        """Draw each group's images beside the maps of all GMM layers.

        Raises:
            InputError: a named image was not among those looked at.
        """
        self.require([shown.name for shown in self._groups["named"]])
        for group, shown in self._groups.items():
            if shown:
                save_figure(map_figure(shown, self._decisive), folder / f"{group}.png")

    def require(self, names: Collection[str]) -> None:
        """Check that all images to be named are among those called `names`.

        Raises:
            InputError: one is not.
        """
        if missing := sorted(self._named.difference(names)):
            raise InputError(
                f"outliers.images: no usable image is called {', '.join(missing)}; names are in the scores"
            )


def map_figure(shown: Sequence[Shown], decisive: str) -> Figure:
    """Images beside the maps of all GMM layers, positions under the threshold outlined; grey is what was not seen."""
    model = shown[0].detector.model
    reports = []
    for item in shown:
        observed = None if item.observed is None else item.observed[None]
        reports.append(item.detector.report(item.image[None], observed))
    maps = {name: torch.cat([report.maps[name] for report in reports]) for name in reports[0].maps}
    below, worst = torch.tensor([-item.c for item in shown]), worst_positions(model, maps)
    images = torch.stack([_visible(item, model.dtype) for item in shown])
    scores = [report.scores[decisive] for report in reports]
    return outlier_maps(
        images,
        [_title(item, decisive, score, place) for item, score, place in zip(shown, scores, worst, strict=True)],
        {name: pixel_maps(model, name, values) for name, values in maps.items()},
        {name: at_pixels(model, name, values < below.to(values).view(-1, 1, 1)) for name, values in maps.items()},
        worst,
        f"{decisive}, in training deviations (std)\nx: worst place (layer, row, column); outlined: under the threshold",
    )


def _title(item: Shown, decisive: str, score: Tensor, worst: WorstPosition) -> str:  # (1,)
    """Name, what it is, how far out it is, and where."""
    detector = item.detector
    p = "" if detector.calibration is None else f", p = {float(detector.p_values(decisive, score)):.2g}"
    place = f"{worst.layer} {worst.row}, {worst.column}"
    name, note = drawable(item.name, LONGEST), drawable(item.note, LONGEST)
    return f"{name}\n{note}\n{item.standardised:.1f} std{p}\nworst: {place}"


def _visible(item: Shown, dtype: torch.dtype) -> Tensor:  # (H, W, C)
    image = to_float(item.image, dtype)  # bytes and numbers in [0, 1], mixed
    return image if item.observed is None else torch.where(item.observed.unsqueeze(-1), image, 0.5)
