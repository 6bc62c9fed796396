"""Images of files as one array of bytes: from their cache, or decoded now and, if they are many, kept there.

Legend: N files, n of them that can be used, H W pixels, C channels.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.datasets import cache
from dcgmm.datasets.cache import NO_SHAPE, Found, Place, Selection
from dcgmm.datasets.decoding import Decoding, decode_all, is_much
from dcgmm.datasets.names import printable
from dcgmm.datasets.pixels import Decoded
from dcgmm.datasets.split import Report
from dcgmm.runtime import require_memory

log = logging.getLogger(__name__)

SAY_EVERY = 0.1  # seconds between reports


class Source(Protocol):
    """Images (H, W, C) one after the other, from the first at each iteration."""

    found: Found  # beside them, once all are taken
    most: int  # there can be so many

    def __iter__(self) -> Iterator[NDArray[np.uint8]]: ...


class SizesDifferError(Exception):
    """An image has another size than those before it."""

    def __init__(self, row: int, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
        super().__init__(row)
        self.row, self.shape, self.first = row, shape, first


def decoded_images(
    files: Selection, how: Decoding, root: Path | None, report: Report | None = None
) -> tuple[Tensor, Found]:  # (n, H, W, C) uint8
    """The images of files, as a memory map where they are kept, and what was found beside them.

    Args:
        files: the files.
        how: they are decoded.
        root: data root that caches are under; None keeps none.
        report: called now and then where there are many.

    Raises:
        SizesDifferError: two images have different sizes.
        InputError: the images need more memory than is free, and cannot be kept in a file; or a process that
            decodes them was ended.
    """
    fingerprint, size = cache.fingerprint(files.paths, (how, PIL.__version__))
    if not is_much(len(files.paths), size):
        return _in_memory(files, _Decoder(files, how, 1, None))
    decoder = _Decoder(files, how, torch.get_num_threads(), report)
    there = None if root is None else kept(Place.of(root, files, how, fingerprint), decoder)
    return there or _in_memory(files, decoder)


class _Decoder:
    """Decodes files: a `Source`."""

    def __init__(self, files: Selection, how: Decoding, workers: int, report: Report | None) -> None:
        self.found, self.most = Found(), len(files.paths)
        self._files, self._how, self._workers, self._report = files, how, workers, report

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self.found = Found()
        said = time.monotonic()
        for row, each in enumerate(decode_all(self._files.paths, self._how, self._workers)):
            if isinstance(each, str):
                self.found.failures.append((row, each))
            else:
                self._take(row, each)
                yield each.pixels
            if self._report and (row + 1 == self.most or time.monotonic() - said > SAY_EVERY):
                said = time.monotonic()
                self._report(row + 1, self.most)

    def _take(self, row: int, decoded: Decoded) -> None:
        found, shape = self.found, decoded.pixels.shape
        found.shape = found.shape or (shape[0], shape[1], shape[2])
        if shape != found.shape:
            raise SizesDifferError(row, shape, found.shape)
        found.several += [row] * (decoded.frames > 1)
        found.peak = max(found.peak, decoded.peak)
        found.stretched += [decoded.stretched] if decoded.stretched else []


def kept(place: Place, source: Source) -> tuple[Tensor, Found] | None:
    """The images of a cache, which is made where there is none; None if it cannot be."""
    if there := cache.opened(place):
        return there
    try:
        with cache.alone(place):
            # Another process may have made it meanwhile.
            if there := cache.opened(place, logging.WARNING):
                return there
            cache.write(place, source, lambda: source.found, source.most)
        return cache.opened(place)
    except cache.NotKeptError as error:
        log.warning("%s: its images are taken into memory", error)
        return None


def _in_memory(files: Selection, decoder: _Decoder) -> tuple[Tensor, Found]:
    """The images as an array of this process.

    Raises:
        InputError: they need more memory than is free.
    """
    total, count, images = len(files.paths), 0, np.empty((0, *NO_SHAPE), np.uint8)
    for pixels in decoder:
        if not count:
            require_memory(total * pixels.size, f"{printable(str(files.source))}: {total} images")
            images = np.empty((total, *pixels.shape), np.uint8)
        images[count] = pixels
        count += 1
    return torch.from_numpy(images[:count]), decoder.found
