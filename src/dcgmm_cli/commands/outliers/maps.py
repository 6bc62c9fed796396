"""Maps of where images are outlying: as pictures, as arrays, and judged by masks of defects.

Shapes: N images, Y X pixels, C channels.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.datasets.names import printable
from dcgmm.datasets.pixels import ImageError, decode_mask
from dcgmm.errors import InputError
from dcgmm.files import write_whole
from dcgmm.images import to_float
from dcgmm.outliers import Detector, Localisation, localise, outlying_maps
from dcgmm_cli.commands.outliers.known import Known
from dcgmm_cli.figures.base import save_image
from dcgmm_cli.figures.outliers import heat, overlay

ENLARGED = 256  # pictures of small images are enlarged to about so many pixels


class Maps:
    """Writes a heat map and an overlay for each image, and the maps of all as arrays; to None it writes nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._outlying: list[Tensor] = []

    def add(self, names: Sequence[str], images: Tensor, outlying: Tensor) -> None:  # (N, Y, X, C), (N, Y, X)
        """Draw some more images, bytes or numbers in [0, 1]."""
        if self._folder is None:
            return
        enlarge = max(1, ENLARGED // max(outlying.shape[1:]))
        for name, image, values in zip(names, images, outlying, strict=True):
            stem = f"{len(self._names):05d}-{re.sub('[^A-Za-z0-9.-]+', '_', name)[-60:]}"
            save_image(heat(values), self._folder / f"{stem}-heat.png", enlarge)
            over = overlay(to_float(image, torch.float32), values)
            save_image(over, self._folder / f"{stem}-overlay.png", enlarge)
            self._names.append(name)
        self._outlying.append(outlying.float().cpu())

    def save(self) -> None:
        """Write the arrays."""
        if self._folder is None or not self._names:
            return
        arrays: dict[str, NDArray[Any]] = {"name": np.array(self._names)}
        arrays["outlying"] = torch.cat(self._outlying).numpy()
        write_whole(self._folder / "maps.npz", lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def maps_of(
    detector: Detector, images: Tensor, batch_size: int | None, observed: Tensor | None = None
) -> Tensor:  # (N, Y, X, C) -> (N, Y, X)
    """Maps of images, of which all or a part was seen."""
    reports = detector.reports(images, batch_size, observed)
    return torch.cat([outlying_maps(detector, report.maps).float().cpu() for report in reports])


def judged(inliers: Tensor, outliers: Tensor, masks: Sequence[Path | None]) -> Localisation | None:  # (N, Y, X) each
    """Figures of maps of images; of outliers without a mask none is asked. None: nothing is marked.

    Raises:
        InputError: a mask cannot be read.
    """
    rows = [row for row, path in enumerate(masks) if path is not None]
    marked = [_mask(path, (outliers.shape[1], outliers.shape[2])) for path in masks if path is not None]
    if not any(mask.any() for mask in marked):
        return None
    every = np.concatenate([np.zeros(inliers.shape, bool), np.stack(marked)])
    return localise(torch.cat([inliers, outliers[rows]]).numpy(), every)


def has_masks(known: Known) -> bool:
    """Whether a defect of one of the images is marked."""
    return any(path is not None for path in known.masks or ())


def _mask(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        return decode_mask(path, size)
    except ImageError as error:
        raise InputError(f"mask {printable(str(path))}: {error}") from None
