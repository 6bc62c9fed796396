"""From a configuration to a data set: found, read, checked and cut."""

import logging
from pathlib import Path

import torch

from dcgmm_cli.config import DatasetConfig
from dcgmm_cli.datasets.catalogue import KNOWN, KnownSet
from dcgmm_cli.datasets.fetching import obtain
from dcgmm_cli.datasets.files import DamagedFileError, cure, folder_of
from dcgmm_cli.datasets.idx import decode
from dcgmm_cli.datasets.split import ImageData, Split
from dcgmm_cli.errors import UserError

NAMES = (*KNOWN, "folder")
log = logging.getLogger(__name__)


def load(config: DatasetConfig) -> ImageData:
    """The configured data set, fetched first if its files are not there.

    Raises:
        UserError: a value of the configuration cannot be, files are damaged, or no source gives them.
    """
    if config.name not in NAMES:
        raise UserError(f"dataset.name={config.name} is unknown; choose {', '.join(NAMES)}")
    if config.limit is not None and config.limit <= 0:
        raise UserError(f"dataset.limit must be at least 1 (or null for all images), not {config.limit}")
    if not 0 <= config.holdout < 1:
        raise UserError(f"dataset.holdout must lie in [0, 1), not {config.holdout:g}")
    data = _read(config)
    if config.classes is not None:
        data = _with_classes(data, config.classes)
    if config.holdout > 0:
        data = _with_holdout(data, config.holdout)
    if config.limit is not None:
        train, test = data.train[: config.limit], data.test[: config.limit]
        data = ImageData(data.name, train, test, data.class_names, data.source)
    return data


def _read(config: DatasetConfig) -> ImageData:
    root = Path(config.root).expanduser()
    if config.name == "folder":
        from dcgmm_cli.datasets.folder import load_folder

        return load_folder(config)
    known = KNOWN[config.name]
    if known.kind == "torchvision":
        from dcgmm_cli.datasets.vision import load_torchvision

        return load_torchvision(known, root)
    contents, source = obtain(known, root)
    images, labels, test_images, test_labels = contents.items()
    train = _idx_split(known, root, images, labels)
    test = _idx_split(known, root, test_images, test_labels)
    log.info("%s comes from %s", known.name, source)
    return ImageData(known.name, train, test, known.class_names, source)


def _idx_split(known: KnownSet, root: Path, images: tuple[str, bytearray], labels: tuple[str, bytearray]) -> Split:
    arrays = []
    for name, content in (images, labels):
        try:
            arrays.append(torch.from_numpy(decode(content)))
        except ValueError as error:
            raise DamagedFileError(f"{folder_of(known, root) / name}: {error}; {cure(known, root)}") from None
    return Split(arrays[0].unsqueeze(-1), arrays[1].long())


def _with_classes(data: ImageData, classes: list[int]) -> ImageData:
    """Only the images of some classes, in their order; labels stay.

    Raises:
        UserError: no class is asked for, one twice, or one that the data lack.
    """
    present = sorted({*data.train.labels.tolist(), *data.test.labels.tolist()})
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(present):
        raise UserError(
            f"dataset.classes={classes} must name some classes of {data.name}, each once: it has {_brief(present)}"
        )
    wanted = torch.tensor(classes)
    train, test = (split[torch.isin(split.labels, wanted)] for split in (data.train, data.test))
    return ImageData(data.name, train, test, data.class_names, data.source)


def _with_holdout(data: ImageData, holdout: float) -> ImageData:
    """The last training images in place of the test set.

    Raises:
        UserError: one of the two parts would be empty.
    """
    total = len(data.train)
    kept = total - round(holdout * total)
    if not 0 < kept < total:
        raise UserError(f"dataset.holdout={holdout:g} of {total} training images leaves {kept} of them for training")
    return ImageData(data.name, data.train[:kept], data.train[kept:], data.class_names, data.source)


def _brief(numbers: list[int]) -> str:
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
