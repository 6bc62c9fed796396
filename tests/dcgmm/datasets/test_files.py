import gzip
import hashlib
from pathlib import Path

import pytest

from dcgmm.datasets import files
from dcgmm.datasets.catalogue import IDX_FILES, KNOWN, TRAIN_LABELS
from dcgmm.datasets.files import DamagedFileError, checksum_problem, no_empty_folders, read_checked, store
from tests.refusals import refused

from .conftest import TinySet


def test_checksums_tell_content_apart() -> None:
    content = b"content"
    for digest in (hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest(), None):
        assert checksum_problem(content, digest) is None
    wrong = hashlib.sha256(b"other").hexdigest()
    found = hashlib.sha256(content).hexdigest()
    assert checksum_problem(content, wrong) == f"SHA-256 {wrong[:8]}... expected, {found[:8]}... found (7 bytes)"
    assert str(checksum_problem(content, wrong[:32])).startswith("MD5 ")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_is_read_raw_or_compressed(tiny: TinySet, tmp_path: Path, suffix: str) -> None:
    folder = tiny.write(tmp_path)
    content = tiny.contents[TRAIN_LABELS]
    if suffix:
        (folder / TRAIN_LABELS).unlink()
        (folder / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(content))
    assert bytes(read_checked(tiny.known, tmp_path, TRAIN_LABELS) or b"") == content


def test_a_missing_file_is_none(tiny: TinySet, tmp_path: Path) -> None:
    assert read_checked(tiny.known, tmp_path, TRAIN_LABELS) is None


def _flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        (TRAIN_LABELS, _flip, r"SHA-256 \w{8}\.\.\. expected, \w{8}\.\.\. found \(28 bytes\)"),
        (TRAIN_LABELS, lambda content: content[:-3], r"SHA-256 .* found \(25 bytes\)"),
        (TRAIN_LABELS, lambda _: b"", r"SHA-256 .* found \(0 bytes\)"),
        (f"{TRAIN_LABELS}.gz", lambda content: gzip.compress(content)[:-9], "Compressed file ended"),
        (f"{TRAIN_LABELS}.gz", lambda content: content, "Not a gzipped file"),
        (f"{TRAIN_LABELS}.gz", lambda content: gzip.compress(_flip(content)), "SHA-256 "),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(
    tiny: TinySet, tmp_path: Path, name: str, damage: object, problem: str
) -> None:
    assert callable(damage)
    folder = tiny.write(tmp_path)
    (folder / TRAIN_LABELS).unlink()
    (folder / name).write_bytes(damage(tiny.contents[TRAIN_LABELS]))
    with pytest.raises(DamagedFileError, match=f"{folder / name} is damaged: {problem}") as raised:
        read_checked(tiny.known, tmp_path, TRAIN_LABELS)
    assert str(raised.value).endswith(f"; delete it, or run `dcgmm data fetch=[mnist] dataset.root={tmp_path}`")


def test_a_file_that_unpacks_without_end_is_left(
    tiny: TinySet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 27)
    folder = tiny.write(tmp_path)
    (folder / TRAIN_LABELS).unlink()
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(tiny.contents[TRAIN_LABELS]))
    with pytest.raises(DamagedFileError, match="it unpacks to more than 27 bytes"):
        read_checked(tiny.known, tmp_path, TRAIN_LABELS)


def test_a_folder_in_a_files_place_is_damage(tiny: TinySet, tmp_path: Path) -> None:
    (tmp_path / tiny.known.folder / TRAIN_LABELS).mkdir(parents=True)
    with pytest.raises(DamagedFileError, match="Is a directory"):
        read_checked(tiny.known, tmp_path, TRAIN_LABELS)


def test_a_damaged_sample_asks_for_installing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "folder_of", lambda known, root: tmp_path)
    (tmp_path / f"{TRAIN_LABELS}.gz").write_bytes(b"")
    with pytest.raises(DamagedFileError, match="install dcgmm again"):
        read_checked(KNOWN["mnist_sample"], tmp_path, TRAIN_LABELS)


def test_store_writes_all_files(tmp_path: Path) -> None:
    store({"a": b"1", "b": bytearray(b"2")}, tmp_path / "new" / "raw")
    assert {path.name: path.read_bytes() for path in (tmp_path / "new" / "raw").iterdir()} == {"a": b"1", "b": b"2"}


def test_a_failing_store_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with refused(tmp_path / "new" / "raw" / "a", "No space left on device"):
        store({"a": b"1"}, tmp_path / "new" / "raw")
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_roots_place_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with refused(tmp_path / "root" / "raw" / "a"):
        store({"a": b"1"}, tmp_path / "root" / "raw")


def test_folders_with_content_stay(tmp_path: Path) -> None:
    def fail() -> None:
        with no_empty_folders(tmp_path / "kept" / "empty"):
            (tmp_path / "kept" / "empty").mkdir(parents=True)
            (tmp_path / "kept" / "file").write_text("")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["mnist_sample", "fashion_mnist_sample"])
def test_the_samples_files_are_sound(name: str) -> None:
    for file in IDX_FILES:
        assert read_checked(KNOWN[name], Path("unused"), file) is not None
