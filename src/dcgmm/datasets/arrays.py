"""Arrays in NumPy's files as a data set: images with labels, and test images where there are such.

Legend: N images, H W pixels, C channels.
"""

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.datasets import cache
from dcgmm.datasets.cache import Found, Place, Selection
from dcgmm.datasets.decoded import kept
from dcgmm.datasets.files import UNREADABLE
from dcgmm.datasets.layout import ONLY_CLASS, spread_test
from dcgmm.datasets.mapping import mapped
from dcgmm.datasets.names import class_name, enumerated, natural_key, printable
from dcgmm.datasets.npy import Header, read_header
from dcgmm.datasets.options import OWN, DataPlaceOptions, DatasetOptions, root_of
from dcgmm.datasets.split import Failures, Part, Report, Split
from dcgmm.errors import InputError, OptionError
from dcgmm.images import outside
from dcgmm.runtime import require_memory

# Names of images and labels, of the training part and of the test part, as they are usual in .npz files.
NAMES = (
    (("images", "labels"), ("test_images", "test_labels")),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
    (("x_train", "y_train"), ("x_test", "y_test")),
)
MOST_CLASSES = 10_000
LARGE = 2**26  # bytes of images: so many that are picked out of an array are not copied into memory
CHECKED = 2**24  # values that are looked at together
_DAMAGED = (*UNREADABLE, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError)


class Arrays:
    """Images and labels of a .npy or .npz file.

    A .npy file holds images, and `<name>_labels.npy` beside it their labels, if it is there; it is a memory map. A .npz
    file holds the arrays of `NAMES`. Labels are whole numbers from 0 on, or texts; without any there is one class.
    Without test images a share of each class becomes them, spread evenly.

    Raises:
        InputError: the file is missing or damaged, or holds what are no images or labels.
    """

    def __init__(self, options: DatasetOptions) -> None:
        assert options.path is not None  # the options see to it
        self._path, self._options = Path(options.path), options
        self.source = printable(options.path)
        if not self._path.is_file() or self._path.suffix not in (".npy", ".npz"):
            raise OptionError("path", OWN["arrays"], self.source, DataPlaceOptions)
        try:
            found = _in_npy(self._path) if self._path.suffix == ".npy" else _in_npz(self._path)
        except _DAMAGED as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.source} is no readable array file: {reason}") from None
        images = [_images(given, self.source) for given, _ in found]
        if len(shapes := {tuple(part.shape[1:]): None for part in images}) > 1:
            train, test = ("x".join(map(str, shape)) for shape in shapes)
            raise InputError(
                f"{self.source} has training images of {train}, test images of {test}; save both in one shape"
            )
        self.class_names, labels = named([given for _, given in found], list(map(len, images)), self.source)
        self._parts = _divided(images, labels, options.test_fraction)
        self.labels = {part: labels[rows] for part, (_, labels, rows) in self._parts.items()}
        self.classes = tuple(self.labels[Part.train].unique().tolist())

    def read(self, part: Part, rows: Tensor, use: Part, report: Report | None = None) -> tuple[Split, Failures]:
        """Some images of a part; arguments as for `Folder.read`.

        Raises:
            InputError: they are no neighbours, and their copy needs more memory than is free.
        """
        images, labels, own = self._parts[part]
        wanted = own[rows]
        return Split(self._picked(images, wanted, use, report), labels[wanted]), ()

    def _picked(self, images: Tensor, rows: Tensor, use: Part, report: Report | None) -> Tensor:
        """Rows of an array: a part of it where they are neighbours, else a copy, of many bytes in a file."""
        if not len(rows) or int(rows[-1] - rows[0]) + 1 == len(rows):
            return images[int(rows[0]) :][: len(rows)] if len(rows) else images[:0]
        size = len(rows) * images[0].nbytes
        if self._options.cache and images.dtype == torch.uint8 and size >= LARGE:
            chosen = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
            files = Selection(self._path, [self._path], f"{use} images", [str(use), chosen])
            place = Place.of(root_of(self._options.root), files, None, cache.fingerprint([self._path], None)[0])
            if there := kept(place, _Rows(images, rows, report)):
                return there[0]
        require_memory(size, f"{self.source}: a copy of {len(rows)} images")
        return images[rows]


class _Rows:
    """Some images of an array one after the other, as `decoded.kept` takes them."""

    def __init__(self, images: Tensor, rows: Tensor, report: Report | None) -> None:
        self._images, self._rows, self._report = images, rows, report
        height, width, channels = images.shape[1:]
        self.found, self.most = Found((height, width, channels)), len(rows)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for done, row in enumerate(self._rows.tolist(), start=1):
            yield self._images[row].numpy()
            if self._report and (done % 1000 == 0 or done == self.most):
                self._report(done, self.most)


_Found = list[tuple[Tensor | NDArray[Any], NDArray[Any] | None]]  # images and labels of one part, or of two


def _in_npy(path: Path) -> _Found:
    beside = path.with_name(f"{path.stem}_labels.npy")
    labels = None
    if beside.is_file():
        with beside.open("rb") as file:
            labels = _read(file, beside.stat().st_size, beside)
    with path.open("rb") as file:
        header = read_header(file, path, path.stat().st_size)
    _check_order(header, path)
    if not _is_pixels(header.dtype):
        return [(np.empty(0, header.dtype), labels)]  # is refused with what it holds
    return [(mapped(path, header.shape, header.start, header.dtype), labels)]


def _in_npz(path: Path) -> _Found:
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}

        def member(name: str) -> NDArray[Any] | None:
            if name not in sizes:
                return None
            with archive.open(f"{name}.npy") as file:
                return _read(file, sizes[name], path)

        for names in NAMES:
            if names[0][0] in sizes:
                parts = [(member(images), member(labels)) for images, labels in names]
                return [(images, labels) for images, labels in parts if images is not None]
    wanted = ", ".join(names[0][0] for names in NAMES)
    has = enumerated(list(sizes)) or "none"
    raise InputError(f"{printable(str(path))} must hold images as one of {wanted}; its arrays: {has}")


def _read(file: IO[bytes], size: int, path: Path) -> NDArray[Any]:
    """An array of a file or of an archive's member, into memory."""
    header = read_header(file, path, size)
    _check_order(header, path)
    require_memory(header.size, f"{printable(str(path))}: an array of {header.size:,} bytes")
    content = bytearray(header.size - header.start)
    found = file.readinto(content)  # type: ignore[attr-defined]  # typing forgets readinto
    if found != len(content):
        raise InputError(f"{printable(str(path))} is cut off: an array has {found:,} bytes of {len(content):,}")
    return np.frombuffer(content, header.dtype).reshape(header.shape)


def _check_order(header: Header, path: Path) -> None:
    if not header.dtype.isnative:
        given, own = header.dtype.str, header.dtype.newbyteorder("=").str
        raise InputError(f"{printable(str(path))} holds {given} values, of another byte order; save them as {own}")


def _is_pixels(dtype: np.dtype[Any]) -> bool:
    return dtype == np.uint8 or dtype in (np.float16, np.float32, np.float64)


def _images(given: Tensor | NDArray[Any], source: str) -> Tensor:  # (N, H, W, C)
    """Images, checked.

    Raises:
        InputError: they have another type or shape, or values that are no pixels'.
    """
    if isinstance(given, np.ndarray):
        if not _is_pixels(given.dtype):
            raise InputError(f"{source} holds {given.dtype} values; save images as uint8, or as floats in [0, 1]")
        given = torch.from_numpy(given)
    shape = "x".join(map(str, given.shape))
    images = given.unsqueeze(-1) if given.dim() == 3 else given
    if images.dim() != 4 or not images.numel():
        raise InputError(f"{source} holds an array {shape or 'of no dimensions'}; images are NxHxW or NxHxWxC")
    if images.is_floating_point():
        for some in images.split(max(1, CHECKED // images[0].numel())):
            if what := outside(*map(float, some.aminmax())):
                raise InputError(f"{source} holds {what}; save images as uint8, or as floats in [0, 1]")
    return images


def named(
    given: Sequence[NDArray[Any] | None], counts: Sequence[int], source: str
) -> tuple[tuple[str, ...], list[Tensor]]:
    """Names of classes, and labels of the images of each part.

    Raises:
        InputError: they are no labels of these images.
    """
    parts = [part for part in given if part is not None]
    if not parts:
        return (ONLY_CLASS,), [torch.zeros(count, dtype=torch.int64) for count in counts]
    if len(parts) < len(given):
        which = "test" if given[0] is None else "training"
        raise InputError(f"{source} has labels of its {which} images only; save those of both parts, or of neither")
    flat = [part[:, 0] if part.ndim == 2 and part.shape[1] == 1 else part for part in parts]
    for part, count in zip(flat, counts, strict=True):
        if part.shape != (count,):
            raise InputError(f"{source} has labels {'x'.join(map(str, part.shape))} for {count} images")
    if all(part.dtype.kind in "iu" for part in flat):
        least, most = min(int(part.min()) for part in flat), max(int(part.max()) for part in flat)
        if least < 0 or most >= MOST_CLASSES:
            raise InputError(
                f"{source} has labels from {least} to {most}; they are numbers from 0 to {MOST_CLASSES - 1}"
            )
        return tuple(map(str, range(most + 1))), [torch.from_numpy(part.astype(np.int64)) for part in flat]
    if not all(part.dtype.kind == "U" for part in flat):
        raise InputError(f"{source} has {flat[0].dtype} labels; save whole numbers, or texts")
    texts = np.unique(np.concatenate(flat))
    names = sorted({class_name(str(text)) for text in texts}, key=natural_key)
    numbers = np.array([names.index(class_name(str(text))) for text in texts])
    return tuple(names), [torch.from_numpy(numbers[np.searchsorted(texts, part)]) for part in flat]


def _divided(
    images: Sequence[Tensor], labels: Sequence[Tensor], test_fraction: float
) -> dict[Part, tuple[Tensor, Tensor, Tensor]]:
    """Images and labels that each part is taken from, and its rows in them."""
    if len(images) == 2:
        return {part: (each, own, torch.arange(len(own))) for part, each, own in zip(Part, images, labels, strict=True)}
    ((every, of_all),) = zip(images, labels, strict=True)
    test = cut_test(of_all, test_fraction)
    return {Part.train: (every, of_all, (~test).nonzero()[:, 0]), Part.test: (every, of_all, test.nonzero()[:, 0])}


def cut_test(labels: Tensor, fraction: float) -> Tensor:  # (N,) -> (N,) bool
    """Which images are the test part where there is none: a fraction of each class, spread evenly."""
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        test[rows] = torch.tensor(spread_test(len(rows), fraction))
    return test
