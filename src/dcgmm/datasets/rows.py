"""Images in rows of Parquet files, known by paths: `train.parquet/12` is the one in row 12. Needs pyarrow.

Legend: N rows.
"""

import bisect
import functools
import io
import itertools
import os
from pathlib import Path
from typing import Any

from dcgmm.errors import InputError

SUFFIX = ".parquet"


def file_of(path: Path) -> Path:
    """The file that an image is in: its own, or one of many images."""
    return path.parent if path.parent.suffix == SUFFIX else path


def content(path: Path) -> Path | io.BytesIO:
    """What Pillow opens: an image file by its path, or the bytes of a row.

    Raises:
        InputError: pyarrow is missing.
        Exception: the file cannot be read, as pyarrow says it, or has no bytes there.
    """
    file = file_of(path)
    if file == path:
        return path
    changed, row = os.stat(file).st_mtime_ns, int(path.name)
    starts = _starts(file, changed)
    group = bisect.bisect_right(starts, row) - 1
    found = _group(file, changed, group)[row - starts[group]].as_py()
    if not found:
        raise ValueError("its row holds no bytes")
    return io.BytesIO(found)


def opened(file: Path) -> Any:
    """A Parquet file.

    Raises:
        InputError: pyarrow is missing.
        OSError, ValueError: it cannot be read.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError("pyarrow is not installed: pip install 'dcgmm[parquet]'") from None
    if not file.is_file():  # one that waits for a writer never ends
        raise ValueError("it is no regular file")
    return ParquetFile(file)


def image_column(schema: Any) -> str | None:
    """The first column that is a structure with `bytes`, as Hugging Face's `datasets` writes images."""
    from pyarrow.types import is_struct

    found = (each.name for each in schema if is_struct(each.type) and each.type.get_field_index("bytes") >= 0)
    return next(found, None)


# Rows are asked for in their order: one group at a time is enough.
@functools.lru_cache(maxsize=1)
def _starts(file: Path, changed: int) -> list[int]:
    """First rows of a file's row groups."""
    about = opened(file).metadata
    return [0, *itertools.accumulate(about.row_group(group).num_rows for group in range(about.num_row_groups - 1))]


@functools.lru_cache(maxsize=1)
def _group(file: Path, changed: int, group: int) -> Any:
    """Encoded images of a row group, an array of bytes (N,)."""
    parquet = opened(file)
    name = image_column(parquet.schema_arrow)
    return parquet.read_row_group(group, [f"{name}.bytes"])[name].combine_chunks().field("bytes")
