"""Images of a user's own, for a model that is trained: read batch by batch, with a reason for each that cannot be.

Legend: N images of a file, n of a batch, H W pixels, C channels.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.datasets.cache import Selection
from dcgmm.datasets.decoded import decoded_images
from dcgmm.datasets.decoding import Decoding, decode_all, is_much
from dcgmm.datasets.files import UNREADABLE
from dcgmm.datasets.names import printable
from dcgmm.datasets.npy import read_header
from dcgmm.datasets.pixels import SUFFIXES, warn_of, warn_of_stretched
from dcgmm.datasets.split import Report
from dcgmm.datasets.walking import walk
from dcgmm.errors import InputError
from dcgmm.images import outside

Shape = tuple[int, int, int]  # H, W, C
# Name of an image, and its pixels (H, W, C), bytes or floats in [0, 1], or why it cannot be used.
Item = tuple[str, NDArray[Any] | str]
_Listed = tuple[str, Path, str | None]  # name and path of an image file, and why it cannot be read, where that is known

_DAMAGED = (*UNREADABLE, zipfile.BadZipFile, KeyError, ValueError, NotImplementedError)


@dataclass(frozen=True)
class Preparation:
    """What becomes of an image before a model sees it, as when it was trained; raising to an exponent is the model's.

    Args:
        shape: height, width and channels that the model takes; image files are converted to its channels.
        resize: whether image files are resized, as training images were; else those of another size cannot be used.
        white: what is white in image files of more than 8 bits; None is 65535.
    """

    shape: Shape
    resize: bool = False
    white: int | None = None

    @classmethod
    def of(cls, shape: Shape, dataset: Mapping[str, Any]) -> Self:
        """That of a model which was trained on a data set, given by fields of `DatasetOptions`."""
        return cls(shape, dataset.get("size") is not None, dataset.get("white"))

    @property
    def decoding(self) -> Decoding:
        """How image files are decoded."""
        height, width, channels = self.shape
        return Decoding(channels == 3, (height, width) if self.resize else None, self.white, self.shape)


@dataclass(frozen=True)
class ImageBatch:
    """Some images, and those among them that cannot be used."""

    names: list[str]
    images: Tensor  # (n, H, W, C) float32 in [0, 1]; of `known_images` uint8, where they come from image files
    failures: list[tuple[str, str]]  # name and reason of those that cannot be used
    several: list[str]  # names of files with several pictures, of which the first was taken
    stretched: list[tuple[int, int]] = field(default_factory=list)  # own heights and widths, as of `pixels.Decoded`


def iter_images(
    path: str | Path, preparation: Preparation, batch_size: int = 500, *, missing: bool = False
) -> Iterator[ImageBatch]:
    """The images of a folder or of an array file, in batches; no more than one batch is held.

    Args:
        path: a folder of images (with its sub-folders), an image file, or a .npy or .npz file with an array
            (N, H, W, C), or (N, H, W) for one channel, of uint8 or of floats in [0, 1]. An .npz file calls it
            `images`, or holds no other array. Arrays are taken as they are: they are not resized.
        preparation: of image files.
        batch_size: images in a batch, usable or not.
        missing: whether arrays may hold NaN, for pixels that were not seen.

    Raises:
        InputError: there is no such path, or it holds no images, or an array that is cut off or cannot be images of
            this shape; while the batches are read: an array file is damaged.
    """
    path = Path(path).expanduser()
    if path.is_file() and path.suffix in (".npy", ".npz"):
        with ExitStack() as stack:
            _open_array(path, preparation.shape, stack)  # what is wrong with it is told now, not with the first batch
        return _array_batches(path, preparation.shape, batch_size, missing)
    return _file_batches(_list_files(path), preparation, batch_size)


def load_images(path: str | Path, preparation: Preparation, *, missing: bool = False) -> ImageBatch:
    """All images of a folder or of an array file at once, with a warning of those that cannot be used.

    Arguments as in `iter_images`.

    Raises:
        InputError: as in `iter_images`, or none can be used.
    """
    return _told(path, together(list(iter_images(path, preparation, missing=missing))))


def together(parts: Sequence[ImageBatch]) -> ImageBatch:  # at least one
    """All images of some batches."""
    return ImageBatch(
        [name for part in parts for name in part.names],
        torch.cat([part.images for part in parts]),
        [failure for part in parts for failure in part.failures],
        [name for part in parts for name in part.several],
        [size for part in parts for size in part.stretched],
    )


def known_images(
    path: str | Path, preparation: Preparation, root: Path | None, report: Report | None = None
) -> ImageBatch:
    """All images of a folder or of an array file, with a warning of those that cannot be used.

    Image files become bytes; of many these are kept in a file, and the images are a memory map.

    Args:
        path, preparation: as in `iter_images`.
        root: data root that decoded images are kept under; None keeps none.
        report: called now and then while many files are decoded, with their number so far and in all.

    Raises:
        InputError: as in `iter_images`, or none can be used.
    """
    place = Path(path).expanduser()
    if place.suffix in (".npy", ".npz") and place.is_file():
        return load_images(path, preparation)
    files, source = _list_files(place), place if place.is_dir() else place.parent
    readable = [file for _, file, problem in files if problem is None]
    selection = Selection(source, readable, "images to be judged", ["all"])
    images, found = decoded_images(selection, preparation.decoding, root, report)
    failures = [(selection.name(row), reason) for row, reason in found.failures]
    failures += [(name, problem) for name, _, problem in files if problem is not None]
    unusable = {row for row, _ in found.failures}
    names = [selection.name(row) for row in range(len(readable)) if row not in unusable]
    several = [selection.name(row) for row in found.several]
    stretched = [(height, width) for height, width in found.stretched]  # lists, where they were kept
    return _told(path, ImageBatch(names, images, failures, several, stretched))


def _told(path: str | Path, batch: ImageBatch) -> ImageBatch:
    """All images of a path, with a warning of those that cannot be used, or were stretched.

    Raises:
        InputError: none can.
    """
    require_some(path, len(batch.names), batch.failures)
    count = len(batch.names) + len(batch.failures)
    warn_of(path, count, batch.failures, batch.several)
    warn_of_stretched(path, count, batch.stretched, batch.images.shape[1:3])
    return batch


def require_some(path: str | Path, usable: int, failures: Sequence[tuple[str, str]]) -> None:
    """Check that of a path's images some can be used.

    Raises:
        InputError: none can; with the first one's reason.
    """
    if not usable:
        raise InputError(f"{path}: none of its {len(failures)} images can be used: {': '.join(failures[0])}")


def _file_batches(files: list[_Listed], preparation: Preparation, batch_size: int) -> Iterator[ImageBatch]:
    paths = [path for _, path, problem in files if problem is None]
    workers = torch.get_num_threads() if is_much(len(paths), sum(map(_size, paths))) else 1
    decoded = decode_all(paths, preparation.decoding, workers)
    for start in range(0, len(files), batch_size):
        items, several, stretched = list[Item](), list[str](), list[tuple[int, int]]()
        for name, _, problem in files[start : start + batch_size]:
            found = problem or next(decoded)
            items.append((name, found if isinstance(found, str) else found.pixels))
            if not isinstance(found, str):
                several += [name] * (found.frames > 1)
                stretched += [found.stretched] if found.stretched else []
        yield _batch(items, preparation.shape, several, stretched)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _array_batches(path: Path, shape: Shape, batch_size: int, missing: bool) -> Iterator[ImageBatch]:
    with ExitStack() as stack:
        array = _open_array(path, shape, stack)
        size = array.dtype.itemsize * int(np.prod(shape))
        for start in range(0, array.count, batch_size):
            count = min(batch_size, array.count - start)
            try:
                content = array.file.read(count * size)
            except _DAMAGED as error:
                raise InputError(f"{path} is damaged: {error}") from None
            if len(content) < count * size:
                raise InputError(f"{path} is cut off: it ends in image {start + len(content) // size}")
            images = np.frombuffer(content, array.dtype).reshape(count, *shape)
            names = (f"{printable(path.name)}[{start + index}]" for index in range(count))
            yield _batch([(name, _usable(image, missing)) for name, image in zip(names, images, strict=True)], shape)


@dataclass(frozen=True)
class _OpenArray:
    """An array file that has been read up to its first image."""

    file: IO[bytes]
    count: int
    dtype: np.dtype[Any]


def _open_array(path: Path, shape: Shape, stack: ExitStack) -> _OpenArray:
    """Open an array file; `stack` closes it.

    Raises:
        InputError: it is damaged, or its array cannot be images of this shape.
    """
    try:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        size = path.stat().st_size
        if path.suffix == ".npz":
            archive = stack.enter_context(zipfile.ZipFile(file))
            members = archive.namelist()
            member = "images.npy" if "images.npy" in members else members[0] if len(members) == 1 else None
            if member is None:
                names = ", ".join(name.removesuffix(".npy") for name in members) or "none"
                raise InputError(f"{path} must hold an array `images`; its arrays: {names}")
            file, size = stack.enter_context(archive.open(member)), archive.getinfo(member).file_size
        found, dtype, _ = read_header(file, path, size)
    except InputError:
        raise
    except Exception as error:  # of a damaged header NumPy's reader raises nearly anything
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} is no readable array file: {said}") from None
    given = (*found, 1) if len(found) == 3 else found
    if given[1:] != shape:
        raise InputError(f"{path} holds an array {_times(found)}; the model takes images {_times(('N', *shape))}")
    if found[0] < 1:
        raise InputError(f"{path} holds an array {_times(found)}: give at least one image")
    if dtype != np.uint8 and dtype.kind != "f":
        raise InputError(f"{path} holds {dtype} values; save them as uint8, or as floats in [0, 1]")
    return _OpenArray(file, found[0], dtype)


def _list_files(path: Path) -> list[_Listed]:
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return [(printable(path.name), path, None)]
    if not path.is_dir():
        what = "is no image, .npy or .npz file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}: give a folder of images, an image, or a .npy or .npz file")
    try:
        tree = walk(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    found = [*((file, None) for file in tree.files()), *tree.all_broken()]
    if not found:
        raise InputError(f"{path} holds no images ({', '.join(SUFFIXES)})")
    return [(printable(file.relative_to(path).as_posix()), file, problem) for file, problem in found]


def _usable(image: NDArray[Any], missing: bool) -> NDArray[Any] | str:
    """The image, or why it is none."""
    if image.dtype == np.uint8:
        return image
    seen = image[~np.isnan(image)] if missing else image
    if not np.isfinite(seen).all():
        return "it holds infinite values" if missing else "it holds NaN or infinite values"
    if seen.size and (values := outside(float(seen.min()), float(seen.max()))):
        return f"it holds {values}, outside [0, 1]"
    return image


def _batch(
    items: list[Item], shape: Shape, several: Sequence[str] = (), stretched: Sequence[tuple[int, int]] = ()
) -> ImageBatch:
    good = [(name, pixels) for name, pixels in items if not isinstance(pixels, str)]
    images = np.empty((len(good), *shape), np.float32)
    for target, (_, pixels) in zip(images, good, strict=True):
        target[:] = pixels
        if pixels.dtype == np.uint8:
            target /= 255
    failures = [(name, reason) for name, reason in items if isinstance(reason, str)]
    return ImageBatch([name for name, _ in good], torch.from_numpy(images), failures, list(several), list(stretched))


def _times(numbers: tuple[int | str, ...]) -> str:
    return "x".join(map(str, numbers))
