"""Files that are whole or absent, and the places of those that a training run is known by. Imports nothing slow."""

import contextlib
import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from dcgmm.errors import InputError

# In a run directory.
CHECKPOINT = Path("checkpoints") / "last.pt"
DETECTOR = Path("checkpoints") / "detector.pt"

DEEPEST = 50  # lists and objects within each other in a file
_NESTED = f"it is nested more than {DEEPEST} times"
TEMPORARY = ".tmp"  # ends the name of a file, or of a directory of such, that is not whole yet
DAY = 86_400.0  # seconds: what is not whole after so long never will be
HOUR = 3_600.0  # seconds: nor is one file


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a file so that it appears at `path` whole or not at all (temporary file, fsync, rename).

    Of a link the file that it points to is written. Others may read it as far as they could before, or as the process's
    umask lets them. What a process that was killed while it wrote the same file has left beside it is removed.

    Raises:
        InputError: the directory cannot be written, no space is left, or `path` is there and no regular file.
    """
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"cannot write {path}: it is {'a directory' if target.is_dir() else 'no regular file'}")
    temporary = temporary_for(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporary(target.parent, HOUR, of=target.name)
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # there was none, or it is another's
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, Exception) and (cause := system_error(error)):
            raise InputError(f"cannot write {path}: {cause.strerror}") from None
        raise


def system_error(error: BaseException | None) -> OSError | None:
    """What the operating system refused, also where a library's own error came of it (torch.save's does)."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def temporary_for(target: Path) -> Path:
    """A name beside a file's own for what is to become it, which no other process has."""
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}{TEMPORARY}")


def sweep_temporary(directory: Path, older: float = 0.0, of: str | None = None) -> None:
    """Remove what killed processes left half written, by `write_whole` or in directories; what is not `older` (seconds)
    stays, and what was to become another file than that of a given name."""
    named = "" if of is None else f"{glob.escape(of[:100])}."
    for path in directory.glob(f".{named}*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime < older:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; names of files that are no UTF-8 as the bytes that they are."""
    write_whole(path, lambda file: file.write(text.encode(errors="surrogateescape")))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all. NaN and infinities are refused: JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def check_archive(path: Path) -> None:
    """Refuse an archive of torch's that holds more than the file does, or other bytes than were written.

    Raises:
        zipfile.BadZipFile: it does.
    """
    import zipfile

    with zipfile.ZipFile(path) as archive:
        is_packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
        if is_packed or archive.testzip() is not None:
            raise zipfile.BadZipFile


def read_text(path: Path) -> str:
    """Content of a text file.

    Raises:
        InputError: the file is missing, no regular file (one that waits for a writer never ends), or no UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot read {path}: it is {'a directory' if path.is_dir() else 'no regular file'}")
        return path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds an object.

    Raises:
        InputError: the file is missing or damaged.
    """
    content = parse_json(read_text(path), str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object")
    return content


def parse_json(text: str, source: str) -> Any:
    """What a JSON text says.

    Raises:
        InputError: it is none, or nested deeper than anything of ours is; `source` is named.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise InputError(f"{source} is damaged: {_NESTED}") from None
    except ValueError as error:
        raise InputError(f"{source} is damaged: {error}") from None
    level = [content]
    for _ in range(DEEPEST):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return content
    raise InputError(f"{source} is damaged: {_NESTED}")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
