"""Which images, and which part of them.

Examples:
    >>> import dcgmm
    >>> dcgmm.datasets.NAMES[:3], dcgmm.datasets.NAMES[-3:]  # of data sets, as `load` takes them
    (('mnist', 'fashion_mnist', 'kmnist'), ('folder', 'arrays', 'parquet'))
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcgmm.errors import OptionError
from dcgmm.options import PATH, Options, Rule, among, number, option, several, whole

FETCHED = ("mnist", "fashion_mnist", "kmnist", "cifar10", "svhn")
# Data of a user's own, at a path, and what that is.
OWN = {
    "folder": "a folder of images",
    "arrays": "a .npy or .npz file",
    "parquet": "a .parquet file, or a folder of them",
}
ENCODED = ("folder", "parquet")  # of which images are decoded
NAMES = (*FETCHED, "mnist_sample", "fashion_mnist_sample", *OWN)


@dataclass
class DataRootOptions(Options):
    """Where data sets are kept."""

    root: str | None = option(
        None, "where downloaded data sets are kept; null: $DCGMM_DATA, else ~/.cache/dcgmm", incidental=True
    )


def root_of(root: str | None) -> Path:
    """The folder that data sets are kept in.

    Raises:
        OptionError: it is empty.
    """
    if root == "":
        raise OptionError("root", "a folder (DCGMM_DATA sets it for all commands)", root, DataRootOptions)
    return Path(root or os.environ.get("DCGMM_DATA") or Path.home() / ".cache" / "dcgmm").expanduser()


@dataclass
class DataPlaceOptions(DataRootOptions):
    """Where a run's data are."""

    path: str | None = option(
        None,
        "folder: images, in sub-folders by class, or train/ and test/ with such sub-folders; arrays: a .npy or .npz "
        "file; parquet: a .parquet file, or a folder of them; kept as absolute",
        PATH,
        extendable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is not None:
            self.path = os.path.abspath(os.path.expanduser(self.path))


@dataclass(kw_only=True)
class DatasetOptions(DataPlaceOptions):
    """Which images, and which part of them (`conf/dataset/*.yaml`).

    Raises:
        OptionError: a value is out of its range, or is not for this data set.

    Examples:
        >>> import dcgmm
        >>> options = dcgmm.datasets.DatasetOptions(name="mnist_sample", classes=[0, 1], limit=50)
        >>> len(dcgmm.datasets.load(options).train)  # as load("mnist_sample", classes=[0, 1], limit=50)
        50
    """

    name: str = option(help=f"{', '.join(NAMES[:-1])} or {NAMES[-1]}", rule=among(NAMES), choices=NAMES)
    classes: list[Any] | None = option(
        None,
        "classes to keep, by name or number; null: all that have training images",
        Rule("a list of at least one class", bool),
    )
    limit: int | None = option(
        None, "at most so many images of each split, first in file order; null takes all", whole(least=1)
    )
    holdout: float = option(
        0.0,
        "fraction of the training images, cut from their end, that stands in for the test set",
        number(least=0, below=1),
    )
    size: list[int] | None = option(
        None,
        "folder and parquet: [height, width] that images are resized to; null: all have one size",
        several(2, whole(least=1)),
    )
    color: bool = option(False, "folder and parquet: three channels instead of one")
    white: int | None = option(
        None,
        "folder and parquet: what is white in images of more than 8 bits, as in 4095 for data of 12; null: 65535",
        whole(least=1, most=65_535),
    )
    cache: bool = option(
        True,
        "folder, arrays and parquet: many images are kept decoded in a file under the root (dcgmm data)",
        incidental=True,
    )
    test_fraction: float = option(
        0.2,
        "folder, arrays and parquet, without a test part: share of each class that becomes it",
        number(least=0, below=1),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # A path is refused when the data are loaded: a run that goes on is given one without its data set's name.
        given = {"size": self.size is not None, "color": self.color, "white": self.white is not None}
        for key in (key for key, value in given.items() if value and self.name not in ENCODED):
            raise OptionError(key, not_for(self.name), getattr(self, key), DatasetOptions)
        if self.name in OWN and self.path is None:
            raise OptionError("path", OWN[self.name], None, DataPlaceOptions)


def not_for(name: str) -> str:
    """What an option of images in files must be for another data set."""
    return f"left out: it is for {' and '.join(ENCODED)}, not for {name}"
