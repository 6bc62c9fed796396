"""Decoded images in a file under the data root: made once, opened as a memory map by every command after that.

A file holds the pixels, then what else decoding found as JSON, and at its end that text's length (8 bytes), its
SHA-256 and `MAGIC`.

Legend: N images, H W pixels, C channels.
"""

import hashlib
import itertools
import json
import logging
import math
import os
import re
import shutil
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.datasets.decoding import WorkerError
from dcgmm.datasets.mapping import mapped
from dcgmm.datasets.names import printable
from dcgmm.datasets.rows import file_of
from dcgmm.errors import InputError
from dcgmm.files import DAY, TEMPORARY, parse_json, sweep_temporary, write_whole

log = logging.getLogger(__name__)

FOLDER, SUFFIX = "decoded", ".images"  # of caches, under the data root
MAGIC = b"dcgmmim1"  # its last sign is the format's version
NO_SHAPE = (1, 1, 1)  # of no images
_END = struct.Struct("<Q32s8s")


class NotKeptError(Exception):
    """A cache cannot be written; the message names it and says why."""


@dataclass(frozen=True)
class Selection:
    """Image files in their order.

    Args:
        source: folder that they lie in.
        paths: of the files.
        what: they are, in words.
        choice: tells them from other files of the folder that could have been chosen (JSON).
    """

    source: Path
    paths: Sequence[Path]
    what: str
    choice: Sequence[Any]

    def name(self, row: int) -> str:
        """A file's name, as it can be shown."""
        return printable(self.paths[row].relative_to(self.source).as_posix())


@dataclass
class Found:
    """What decoding files has found beside the pixels; files are known by their places in the selection."""

    shape: tuple[int, int, int] | None = None  # H, W, C of the images, if there are any
    failures: list[tuple[int, str]] = field(default_factory=list)  # files that cannot be used, and why
    several: list[int] = field(default_factory=list)  # files with several pictures
    peak: int = 0  # largest value in an integer image of more than 8 bits
    stretched: list[tuple[int, int]] = field(default_factory=list)  # heights and widths, as of `Decoded`


@dataclass(frozen=True)
class Place:
    """Where the images of a selection are kept.

    Args:
        path: named by where the files lie and how they were chosen: when they change, the file is replaced.
        source, what: as in a `Selection`.
        fingerprint: of the files and of all that changes their pixels: images of another one are not used.
    """

    path: Path
    source: str
    what: str
    fingerprint: str

    @classmethod
    def of(cls, root: Path, files: Selection, how: object, fingerprint: str) -> "Place":
        """The place of files that are decoded in some way, under a data root."""
        source = os.path.abspath(files.source)
        key = hashlib.sha256(repr((source, *files.choice, how)).encode()).hexdigest()[:16]
        stem = re.sub("[^A-Za-z0-9-]+", "_", os.path.basename(source))[:40]
        return cls(root / FOLDER / f"{stem}-{key}{SUFFIX}", printable(source), files.what, fingerprint)


def fingerprint(paths: Sequence[Path], how: object) -> tuple[str, int]:
    """A digest of files' names, sizes and times and of how they are decoded, and the bytes that they have in all."""
    content, size = hashlib.sha256(repr(how).encode()), 0
    for file, images in itertools.groupby(paths, file_of):
        content.update("".join(f"{os.fspath(path)!r} " for path in images).encode())
        try:
            state = os.stat(file)
        except OSError:  # it is gone again
            content.update(b"gone\n")
            continue
        # Also the time of the last change of any kind: who copies a file's times cannot copy that.
        content.update(f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
        size += state.st_size
    return content.hexdigest(), size


def opened(place: Place, level: int = logging.DEBUG) -> tuple[Tensor, Found] | None:
    """The images of a place, (N, H, W, C) uint8, as a memory map; None where there are none of these files.

    Why what is there is not used is logged, at a level.
    """
    try:
        about = _about(place.path)
        if about["fingerprint"] != place.fingerprint:
            log.log(level, "the images in %s have changed: they are decoded again", place.source)
            return None
        found = Found(**about["found"])
        found.shape = found.shape and (found.shape[0], found.shape[1], found.shape[2])
        found.failures = [(row, reason) for row, reason in found.failures]
        return mapped(place.path, (about["count"], *(found.shape or NO_SHAPE))), found
    except FileNotFoundError:
        return None
    except (OSError, InputError) as error:
        log.log(level, "%s cannot be used (%s): the images are decoded again", place.path, error)
        return None


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Hold a place's lock; where another process has it, say so and wait.

    Raises:
        NotKeptError: its folder cannot be written.
    """
    folder = place.path.parent
    lock = _lock_of(place.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process decodes the images in %s: waiting for it", place.source)
            lock.acquire()
    except OSError as error:
        raise NotKeptError(f"cannot write {folder}: {error.strerror}") from None
    try:
        sweep_temporary(folder, older=DAY)
        sweep_temporary(folder, of=place.path.name)  # of who was killed while it wrote
        yield
    finally:
        lock.release()


def write(place: Place, images: Iterable[NDArray[np.uint8]], found: Callable[[], Found], most: int) -> None:
    """Fill a place, whole or not at all.

    Args:
        place: whose lock is held.
        images: (H, W, C) each.
        found: what was found beside them, asked for when all are taken.
        most: there can be so many.

    Raises:
        NotKeptError: it cannot be written, or there is not room enough.
        WorkerError: `images` raised it.
    """

    def fill(file: IO[bytes]) -> None:
        count = 0
        for pixels in images:
            if not count:
                _require_room(place.path.parent, most * pixels.size)
            file.write(np.ascontiguousarray(pixels).data)
            count += 1
        about = {"fingerprint": place.fingerprint, "source": place.source, "what": place.what, "count": count}
        content = json.dumps({**about, "found": asdict(found())}).encode()
        file.write(content + _END.pack(len(content), hashlib.sha256(content).digest(), MAGIC))

    try:
        write_whole(place.path, fill)
    except WorkerError:  # not of the file that is written
        raise
    except InputError as error:
        raise NotKeptError(str(error)) from None


@dataclass(frozen=True)
class Listed:
    """A cache as `dcgmm data` shows it."""

    path: Path
    size: int  # bytes
    images: int
    what: str
    source: str

    @property
    def name(self) -> str:
        """What it is called."""
        return self.path.name.removesuffix(SUFFIX)


def listed(root: Path) -> list[Listed]:
    """All caches under a data root."""
    return [_listed(path) for path in sorted((root / FOLDER).glob(f"*{SUFFIX}"))]


def remove(root: Path, names: Collection[str] | None = None) -> list[str]:
    """Remove caches under a data root by name; None removes all, and what killed processes left half written.

    What a process has open stays with it until it ends; what one is at work on is left.

    Returns:
        Names of what is removed.
    """
    removed, folder = [], root / FOLDER
    left = folder.glob(f".*{TEMPORARY}") if names is None else []
    for path in (*(each.path for each in listed(root) if names is None or each.name in names), *left):
        with suppress(OSError), _lock_of(path).acquire(timeout=0):  # Timeout is an OSError
            path.unlink()
            removed.append(path.name.removesuffix(SUFFIX))
    if names is None:
        for lock in folder.glob(".*.lock"):
            with suppress(OSError):
                lock.unlink()
        with suppress(OSError):
            folder.rmdir()
    return removed


def _listed(path: Path) -> Listed:
    size = path.lstat().st_size
    try:
        about = _about(path)
    except (OSError, InputError):
        return Listed(path, size, 0, "damaged", "")
    return Listed(path, size, about["count"], about["what"], about["source"])


def _about(path: Path) -> dict[str, Any]:
    """What a cache says of itself.

    Raises:
        OSError: it cannot be read.
        InputError: it is damaged.
    """
    if path.exists() and not path.is_file():
        raise InputError("it is no regular file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size - _END.size
        if size < 0:
            raise InputError("it is cut off")
        file.seek(size)
        length, digest, magic = _END.unpack(file.read())
        if magic != MAGIC or length > size:
            raise InputError("it is cut off, or of another version")
        file.seek(size - length)
        content = file.read(length)
    if hashlib.sha256(content).digest() != digest:
        raise InputError("its description is damaged")
    about: dict[str, Any] = parse_json(content.decode(), str(path))
    if about["count"] * math.prod(about["found"]["shape"] or NO_SHAPE) != size - length:
        raise InputError("it is cut off")
    return about


def _require_room(folder: Path, needed: int) -> None:
    """Check that so many bytes have room.

    Raises:
        InputError: they have not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"cannot write {folder}: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free")


def _lock_of(path: Path) -> FileLock:
    """The lock of a cache, or of a file that is to become one."""
    name = path.name.removeprefix(".").partition(SUFFIX)[0]
    return FileLock(path.with_name(f".{name}.lock"))
