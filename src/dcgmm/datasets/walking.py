"""The image files of a folder and its sub-folders, in one walk."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dcgmm.datasets.pixels import SUFFIXES

Skipped = tuple[Path, str]  # what was passed over, and why


@dataclass(frozen=True)
class Tree:
    """A folder as it was found: hidden files and folders, and files that are no images, are not in it."""

    path: Path
    entries: list["Path | Tree"] = field(default_factory=list)  # images and sub-folders, by name
    broken: list[Skipped] = field(default_factory=list)  # links that lead nowhere, folders that cannot be read

    @property
    def images(self) -> list[Path]:
        """Image files in the folder itself."""
        return [entry for entry in self.entries if not isinstance(entry, Tree)]

    @property
    def folders(self) -> list["Tree"]:
        """Sub-folders."""
        return [entry for entry in self.entries if isinstance(entry, Tree)]

    def files(self) -> Iterator[Path]:
        """Image files in the folder and all below it, in the order of their paths."""
        for entry in self.entries:
            if isinstance(entry, Tree):
                yield from entry.files()
            else:
                yield entry

    def all_broken(self) -> Iterator[Skipped]:
        """What is broken in the folder and all below it."""
        yield from self.broken
        for folder in self.folders:
            yield from folder.all_broken()


def walk(path: Path) -> Tree:
    """A folder with all that lies in it. Links are followed, but not back to a folder that they lie in.

    Raises:
        OSError: the folder itself cannot be read; one below it that cannot is among what is broken.
    """
    return _walk(path, frozenset())


def _walk(path: Path, above: frozenset[tuple[int, int]]) -> Tree:
    state = os.stat(path)
    here = (state.st_dev, state.st_ino)
    if here in above:
        raise OSError("it leads back to a folder that it lies in")
    tree = Tree(path)
    with os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        place = path / entry.name
        try:
            if entry.is_dir():
                tree.entries.append(_walk(place, above | {here}))
            elif entry.is_file():
                if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    tree.entries.append(place)
            elif entry.is_symlink():
                tree.broken.append((place, f"a link to {os.readlink(place)}, which is not there"))
        except OSError as error:
            tree.broken.append((place, error.strerror or str(error)))
    return tree
