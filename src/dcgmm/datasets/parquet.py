"""Images in Parquet files as Hugging Face's `datasets` writes them, as a data set. Needs pyarrow.

Legend: N images.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcgmm.datasets.arrays import cut_test, named
from dcgmm.datasets.folder import ImageFiles
from dcgmm.datasets.layout import PARTS, ImageFile
from dcgmm.datasets.names import class_name, enumerated, natural_key, printable
from dcgmm.datasets.options import OWN, DataPlaceOptions, DatasetOptions
from dcgmm.datasets.rows import SUFFIX, image_column, opened
from dcgmm.datasets.split import Part
from dcgmm.errors import InputError, OptionError
from dcgmm.files import parse_json

log = logging.getLogger(__name__)

LABELS = ("label", "labels")  # names of their column, before others of classes


class Rows(NamedTuple):
    """Images of some files, and what these say of them."""

    images: list[ImageFile]  # N
    labels: NDArray[Any] | None  # (N,) numbers, or texts; None: there are none
    names: list[str]  # of classes, by number, if they are known


class Parquet(ImageFiles):
    """Images and labels of a Parquet file, or of all that lie in a folder.

    A file's name, or a folder's on the way to it, says which part it is of: `train-00000-of-00002.parquet`,
    `test/0000.parquet`; spellings are those of `dcgmm.datasets.layout`. Without a test part a share of each class
    becomes it, spread evenly. Images are in the files' order: the first column of structures with `bytes`. Labels are
    in `label`, else in the first column of classes.

    Raises:
        InputError: there is no such file, it cannot be read, or holds no images; or pyarrow is missing.
    """

    def __init__(self, options: DatasetOptions) -> None:
        assert options.path is not None  # the options see to it
        root, source = Path(options.path), printable(options.path)
        if not root.is_dir() and not (root.is_file() and root.suffix == SUFFIX):
            raise OptionError("path", OWN["parquet"], source, DataPlaceOptions)
        parts = [_read(files) for files in _parts(root)]
        names, labels = named([part.labels for part in parts], [len(part.images) for part in parts], source)
        if len(parts[0].names) >= len(names):
            names = tuple(map(class_name, parts[0].names))
        listed = [list(zip(of.tolist(), part.images, strict=True)) for of, part in zip(labels, parts, strict=True)]
        if len(listed) == 1:
            is_test = cut_test(labels[0], options.test_fraction).tolist()
            pairs = list(zip(listed[0], is_test, strict=True))
            listed = [[each for each, test in pairs if test is wanted] for wanted in (False, True)]
        super().__init__(options, names, dict(zip(Part, listed, strict=True)))


def _parts(root: Path) -> list[list[Path]]:
    """Files of the training and the test part, or all of them in one.

    Raises:
        InputError: there are none, or none of the training part.
    """
    if root.is_file():
        return [[root]]
    found_there = (path for path in root.rglob(f"*{SUFFIX}") if not path.is_dir())
    files = sorted(found_there, key=lambda file: natural_key(file.relative_to(root).as_posix()))
    if not files:
        raise InputError(f"{printable(str(root))} holds no {SUFFIX} files")
    found: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        found[_role(file.relative_to(root))].append(file)
    train, test = found["train"], found["test"] or found["validation"]
    if not train and test:
        raise InputError(f"{printable(str(root))} has {test[0].name} but no training part, such as train{SUFFIX}")
    if others := [file.name for file in files if train and file not in train and file not in test]:
        log.warning("%s: left out %s, beside training and test part", root, enumerated(others))
    return [train, test] if test else [train or files]


def _role(file: Path) -> str:
    words = [file.stem.partition("-")[0], *reversed(file.parts[:-1])]
    roles = (role for word in words for role, spelling in PARTS.items() if spelling.fullmatch(word))
    return next(roles, "")


def _read(files: Sequence[Path]) -> Rows:
    """What files hold; pixels stay where they are.

    Raises:
        InputError: one cannot be read, has no column of images, or rows without a label.
    """
    found = [_of(file) for file in files]
    labels = [each.labels for each in found if each.labels is not None]
    if 0 < len(labels) < len(found):
        lacking = enumerated([file.name for file, each in zip(files, found, strict=True) if each.labels is None])
        raise InputError(
            f"{printable(str(files[0].parent))}: no column of labels in {lacking}; give all files one, or none"
        )
    images = [image for each in found for image in each.images]
    if not images:
        raise InputError(f"{printable(str(files[0]))} holds no images")
    return Rows(images, np.concatenate(labels) if labels else None, found[0].names)


def _of(file: Path) -> Rows:
    try:
        with opened(file) as parquet:
            schema, count = parquet.schema_arrow, parquet.metadata.num_rows
            if image_column(schema) is None:
                has = enumerated(schema.names)
                raise InputError(f"{printable(str(file))} has no column of images, with a field `bytes`; it has {has}")
            column, names = _labels(schema, printable(str(file)))
            labels = None if column is None else parquet.read([column])[column]
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).partition("\n")[0]
        raise InputError(f"{printable(str(file))} is no readable Parquet file: {reason}") from None
    images = [ImageFile(file / str(row)) for row in range(count)]
    if labels is None:
        return Rows(images, None, names)
    if labels.null_count:
        raise InputError(f"{printable(str(file))}: {labels.null_count} of {count} rows have no label")
    if not _may_name_classes(labels.type):
        raise InputError(f"{printable(str(file))} has labels of type {labels.type}; save whole numbers, or texts")
    values = labels.to_numpy()
    return Rows(images, values.astype(str) if values.dtype == object else values, names)


def _may_name_classes(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _labels(schema: Any, source: str) -> tuple[str | None, list[str]]:
    """Column of labels, and names of classes where they are known.

    Raises:
        InputError: what `datasets` has left in the file about it is damaged.
    """
    about: Any = {}
    if text := (schema.metadata or {}).get(b"huggingface"):
        about = parse_json(text.decode(errors="replace"), source)
    for key in ("info", "features"):
        about = about.get(key) if isinstance(about, dict) else None
    features = about.items() if isinstance(about, dict) else ()
    names = {name: each["names"] for name, each in features if isinstance(each, dict) and _are_texts(each.get("names"))}
    column = next((name for name in (*LABELS, *names) if name in schema.names), None)
    return column, names.get(column or "", [])


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
