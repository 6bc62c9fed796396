"""Files of data sets: read, checked, and stored so that they are whole or absent."""

import contextlib
import gzip
import hashlib
import os
import shlex
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import IO

from dcgmm.datasets.catalogue import KnownSet
from dcgmm.datasets.idx import decode
from dcgmm.errors import InputError
from dcgmm.files import DAY, sweep_temporary, write_whole

LARGEST = 10**9  # bytes that a file may unpack to
UNREADABLE = (OSError, EOFError, zlib.error)  # what reading or unpacking a file may raise


class SourceError(Exception):
    """A source cannot give the files that it was asked for; the message says why in a few words."""


class DamagedFileError(InputError):
    """A file of a data set is there, but is not what it should be."""


def folder_of(known: KnownSet, root: Path) -> Path:
    """Folder of a data set's files."""
    if known.kind == "sample":
        return Path(str(resources.files("dcgmm.datasets.sample"))) / known.folder
    return root / known.folder


def find_file(path: Path) -> Path | None:
    """The file itself, else its gzip-compressed form (`.gz`), else None."""
    compressed = path.with_name(f"{path.name}.gz")
    return next((candidate for candidate in (path, compressed) if os.path.exists(candidate)), None)


def read_content(path: Path) -> bytearray:
    """Content of a file, unpacked where its name ends in `.gz`; raises one of `UNREADABLE`."""
    with path.open("rb") as file:
        if path.suffix == ".gz":
            content = bytearray(gzip.GzipFile(fileobj=file).read(LARGEST + 1))
            if len(content) > LARGEST:
                raise OSError(f"it unpacks to more than {LARGEST:,} bytes")
            return content
        content = bytearray(os.fstat(file.fileno()).st_size)  # filled in place: a large file is held once
        file.readinto(content)
        return content


def read_checked(known: KnownSet, root: Path, name: str) -> bytearray | None:
    """Unpacked content of one of a data set's files; None where there is no such file.

    Raises:
        DamagedFileError: the file cannot be read or unpacked, its checksum differs, or it is no idx file but should.
    """
    path = find_file(folder_of(known, root) / name)
    if path is None:
        return None
    try:
        content = read_content(path)
        problem = checksum_problem(content, known.files[name])
        if problem is None and known.kind != "torchvision":
            decode(content)
    except (*UNREADABLE, ValueError) as error:
        problem = str(getattr(error, "strerror", None) or error)
    if problem is not None:
        raise damaged(known, root, path, problem)
    return content


def damaged(known: KnownSet, root: Path, path: Path, problem: str) -> DamagedFileError:
    """The error that names a damaged file, what is wrong with it, and what to do."""
    cure = "install dcgmm again" if known.kind == "sample" else f"delete it, or run `{fetch_command(known, root)}`"
    return DamagedFileError(f"{path} is damaged: {problem}; {cure}")


def fetch_command(known: KnownSet, root: Path) -> str:
    """The command line that fetches a data set."""
    return f"dcgmm data fetch=[{known.name}] dataset.root={shlex.quote(str(root))}"


def checksum_problem(content: bytes | bytearray, checksum: str | None) -> str | None:
    """How content differs from its SHA-256 or MD5 checksum, in words; None where it doesn't or none is known."""
    if checksum is None:
        return None
    if len(checksum) == 32:
        kind, digest = "MD5", hashlib.md5(content, usedforsecurity=False).hexdigest()
    else:
        kind, digest = "SHA-256", hashlib.sha256(content).hexdigest()
    if digest == checksum:
        return None
    return f"{kind} {checksum[:8]}... expected, {digest[:8]}... found ({len(content):,} bytes)"


def store(contents: Mapping[str, bytes | bytearray], folder: Path) -> None:
    """Write files into a folder, each whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    sweep_temporary(folder, older=DAY)
    with no_empty_folders(folder):
        for name, content in contents.items():
            try:
                write_whole(folder / name, partial(_write, content))
            except OSError as error:
                raise InputError(f"cannot write {folder / name}: {error.strerror or error}") from None


def _write(content: bytes | bytearray, file: IO[bytes]) -> None:
    file.write(content)


@contextlib.contextmanager
def no_empty_folders(folder: Path) -> Iterator[None]:
    """When the body fails, remove those folders on the way to `folder` that it made and left empty."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in absent:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
