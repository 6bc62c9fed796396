"""How a folder of images stands for a data set: its classes, its training and test part, masks of defects."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dcgmm.datasets.names import class_name, enumerated, natural_key
from dcgmm.datasets.pixels import SUFFIXES
from dcgmm.datasets.walking import Tree
from dcgmm.errors import InputError

log = logging.getLogger(__name__)

ONLY_CLASS = "0"  # of a folder without sub-folders
MASKS = re.compile(r"ground[-_ ]?truth", re.IGNORECASE)
# Spellings of the parts, such as train, Training, test_set, val2017: a folder of such a name is never a class.
_MORE = r"(?:[-_ ]?(?:set|data|images?|imgs|split|\d+))?"
PARTS = {
    "train": re.compile(rf"(?:train|training){_MORE}", re.IGNORECASE),
    "test": re.compile(rf"(?:test|testing){_MORE}", re.IGNORECASE),
    "validation": re.compile(rf"(?:val|valid|validation){_MORE}", re.IGNORECASE),
}


@dataclass(frozen=True)
class ImageFile:
    """An image file, and the mask of its defect where there is one."""

    path: Path
    mask: Path | None = None


Classes = dict[str, list[ImageFile]]


@dataclass(frozen=True)
class Layout:
    """Files by class, of the training and of the test part."""

    train: Classes
    test: Classes
    names: tuple[str, ...] = field(init=False)  # of all classes, in natural order

    def __post_init__(self) -> None:
        names = sorted({*self.train, *self.test}, key=natural_key)
        by_case = {name.casefold(): name for name in names}
        if alike := [name for name in names if by_case[name.casefold()] != name]:
            raise InputError(
                f"classes {alike[0]} and {by_case[alike[0].casefold()]} differ in capitals only: rename one of them"
            )
        object.__setattr__(self, "names", tuple(names))


def layout_of(root: Tree, test_fraction: float) -> Layout:
    """The parts and classes of a folder.

    Classes are the sub-folders, or those of the training and the test part where there are such (`train/` and
    `test/`, or another spelling of `PARTS`; `val/` stands in for a missing `test/`). Without a test part a share of
    each class becomes it: images spread evenly over the sorted file names, always the same ones. Masks are
    `ground_truth/<class>/<name>_mask.png`, or without `_mask`.

    Args:
        root: the folder.
        test_fraction: share of each class that becomes the test part where there is none, in [0, 1).

    Raises:
        InputError: the folder holds no images, or its sub-folders can be understood in more than one way.
    """
    if broken := list(root.all_broken()):
        log.warning("%s: left out %d that cannot be read: %s", root.path, len(broken), _reasons(broken))
    train, test = _parts(root)
    if train is None:
        return Layout(*_divide(_classes(root), test_fraction))
    if test is None:
        log.info("%s has no test part: %g of each class in %s becomes it", root.path, test_fraction, train.path.name)
        return Layout(*_divide(_classes(train), test_fraction))
    parts = _classes(train), _classes(test)
    if (is_flat := not _with_images(train)) == bool(_with_images(test)):
        one, other = (train, test) if is_flat else (test, train)
        raise InputError(
            f"{one.path} holds its images itself, {other.path} in sub-folders by class: put the former into one too"
        )
    return Layout(parts[0], _with_masks(parts[1], root))


def _reasons(broken: list[tuple[Path, str]]) -> str:
    return enumerated([f"{path} ({reason})" for path, reason in broken])


def _parts(root: Tree) -> tuple[Tree | None, Tree | None]:
    """Training and test part of a folder; None for what it has not.

    Raises:
        InputError: it cannot be told which they are.
    """
    found: dict[str, list[Tree]] = defaultdict(list)
    for folder in root.folders:
        found[_role(folder)].append(folder)
    for role in PARTS:
        if len(found[role]) > 1:
            names = " and ".join(folder.path.name for folder in found[role])
            raise InputError(f"{root.path} has {names}, which are both a {role} part: rename or remove one of them")
    train, test, validation = (next(iter(found[role]), None) for role in PARTS)
    others = [folder.path.name for folder in found[""] if any(folder.files())]
    if train is None:
        if part := test or validation:
            raise InputError(
                f"{root.path} has {part.path.name}/ but no train/: add it, or rename {part.path.name}/ if it is a class"
            )
        return None, None
    if test is None and validation is None and others:
        raise InputError(
            f"{root.path} has {enumerated(others)} beside {train.path.name}/: move them away if that is the training "
            f"part, or rename {train.path.name}/ if it is a class"
        )
    if test is not None and validation is not None:
        others.append(validation.path.name)
    if others:
        log.warning("%s: left out %s, beside training and test part", root.path, enumerated(others))
    if loose := len(root.images):
        log.warning("%s: %d images beside training and test part are left out", root.path, loose)
    return train, test or validation


def _role(folder: Tree) -> str:
    name = folder.path.name
    if MASKS.fullmatch(name):
        return "masks"
    return next((role for role, spelling in PARTS.items() if spelling.fullmatch(name)), "")


def _with_images(folder: Tree) -> list[Tree]:
    return [below for below in folder.folders if any(below.files())]


def _classes(folder: Tree) -> Classes:
    """Image files of a part by class.

    Raises:
        InputError: there are none, or a sub-folder is a data set of its own.
    """
    filled = _with_images(folder)
    if empty := [below.path.name for below in folder.folders if not any(below.files())]:
        log.warning("%s: no images in %s", folder.path, enumerated(empty))
    classes: Classes = {}
    for below in filled:
        if {"train"} < {_role(inner) for inner in below.folders if any(inner.files())} & set(PARTS):
            raise InputError(f"{below.path} is a data set of its own, with a training and a test part: give it as path")
        classes.setdefault(class_name(below.path.name), []).extend(map(ImageFile, below.files()))
    if not filled and folder.images:
        return {ONLY_CLASS: list(map(ImageFile, folder.images))}
    if not classes:
        raise InputError(f"{folder.path} holds no images ({', '.join(SUFFIXES)})")
    if folder.images:
        what = "images beside the sub-folders have no class and are left out"
        log.warning("%s: %d %s", folder.path, len(folder.images), what)
    return classes


def _with_masks(classes: Classes, root: Tree) -> Classes:
    """Test images with the masks of their defects."""
    masks = {
        (class_name(below.path.name), path.stem): path
        for folder in root.folders
        if MASKS.fullmatch(folder.path.name)
        for below in folder.folders
        for path in below.files()
    }
    return {
        name: [
            ImageFile(file.path, masks.get((name, f"{file.path.stem}_mask"), masks.get((name, file.path.stem))))
            for file in files
        ]
        for name, files in classes.items()
    }


def _divide(classes: Classes, test_fraction: float) -> tuple[Classes, Classes]:
    """Training and test files of each class."""
    train: Classes = {}
    test: Classes = {}
    for name, files in classes.items():
        for file, is_test in zip(files, spread_test(len(files), test_fraction), strict=True):
            (test if is_test else train).setdefault(name, []).append(file)
    return train, test


def spread_test(size: int, fraction: float) -> list[bool]:
    """Which of so many images of a class are the test part: a fraction of them, spread evenly."""
    count = int(fraction * size + 1e-9)  # 0.29 * 100 is a little under 29
    return [(index + 1) * count // size > index * count // size for index in range(size)]


def interleaved(classes: Classes, names: Iterable[str]) -> list[tuple[int, ImageFile]]:
    """All files with the labels of their classes, each class spread evenly over the whole."""
    ranked = [
        ((index + 0.5) / len(classes[name]), label, file)
        for label, name in enumerate(names)
        for index, file in enumerate(classes.get(name, ()))
    ]
    return [(label, file) for _, label, file in sorted(ranked, key=lambda item: item[:2])]
