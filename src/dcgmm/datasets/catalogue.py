"""The data sets that are known by name: their classes, sizes, files and checksums."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

_DIGITS = tuple("0123456789")
_FASHION = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@dataclass(frozen=True)
class KnownSet:
    """A data set that is known by name.

    `kind` says how its files are read: idx (four idx files as MNIST has them, kept under the root), sample (the same,
    inside this package) or torchvision (by torchvision, in its own layout under the root).
    """

    name: str
    kind: Literal["idx", "sample", "torchvision"]
    class_names: tuple[str, ...]
    counts: tuple[int, int]  # training images, test images
    origin: str  # where the files come from, in words
    folder: str  # the files' folder: under the root, or in this package's `sample` folder
    files: Mapping[str, str | None]  # name: checksum of the unpacked content, SHA-256 or MD5; None where none is known


def _idx_files(*checksums: str | None) -> dict[str, str | None]:
    return dict(zip(IDX_FILES, checksums, strict=True))


_ALL = (
    KnownSet(
        name="mnist",
        kind="idx",
        class_names=_DIGITS,
        counts=(60_000, 10_000),
        origin="torchvision, npm",
        folder="MNIST/raw",
        files=_idx_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    KnownSet(
        name="fashion_mnist",
        kind="idx",
        class_names=_FASHION,
        counts=(60_000, 10_000),
        origin="torchvision, Debian",
        folder="FashionMNIST/raw",
        files=_idx_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    KnownSet(
        name="kmnist",
        kind="idx",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        counts=(60_000, 10_000),
        origin="torchvision",
        folder="KMNIST/raw",
        files=_idx_files(None, None, None, None),  # torchvision checks the archives that it fetches
    ),
    KnownSet(
        name="cifar10",
        kind="torchvision",
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        counts=(50_000, 10_000),
        origin="torchvision",
        folder="cifar-10-batches-py",
        files={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    KnownSet(
        name="svhn",
        kind="torchvision",
        class_names=_DIGITS,
        counts=(73_257, 26_032),
        origin="torchvision",
        folder=".",
        files={
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
    ),
    KnownSet(
        name="mnist_sample",
        kind="sample",
        class_names=_DIGITS,
        counts=(2_000, 500),
        origin="bundled with dcgmm",
        folder="mnist",
        files=_idx_files(
            "a737e88d62aaa9c7e91331bf1e4ce145cd69d12f9bc6463eab29e56acbfc8c1b",
            "ac96f13e52e22bca80cd9e268a3013f3b5cccfef3afe7871e7e6c5d9fc1dfcda",
            "6e6917d69c9e5e3a99accb014ff3db7ca0f889abe49421fb132616d7a312407a",
            "ef2d8568ae24501a8cacf9fc26dd780a3428a8990b45b5401943badf85252894",
        ),
    ),
    KnownSet(
        name="fashion_mnist_sample",
        kind="sample",
        class_names=_FASHION,
        counts=(2_000, 500),
        origin="bundled with dcgmm",
        folder="fashion_mnist",
        files=_idx_files(
            "c86b6bda635eecb831fe69c2329c2e2ed90fc8d85076ab7b4de59fe12f54c9b2",
            "ac96f13e52e22bca80cd9e268a3013f3b5cccfef3afe7871e7e6c5d9fc1dfcda",
            "93e59300db67e4433a52727ca5812ce9f9bca0e003373d5d9b7700abe7dd7c1b",
            "ef2d8568ae24501a8cacf9fc26dd780a3428a8990b45b5401943badf85252894",
        ),
    ),
)
KNOWN = {known.name: known for known in _ALL}
