"""The typed configuration of every command: the library's options, and what only commands need.

Hydra merges the YAML files of `conf/` and the command line into these classes, so that an unknown key, a value of the
wrong type or out of its range fails before anything runs. Imports neither torch nor Hydra: `--help` stays instant.
"""

import functools
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dcgmm.classification.options import GenerativeOptions, Method, ReadoutOptions
from dcgmm.clustering.options import ClusterOptions
from dcgmm.datasets.options import NAMES, OWN, DataPlaceOptions
from dcgmm.errors import OptionError
from dcgmm.generation.options import AREAS, CompletionOptions, SamplingOptions, SharpeningOptions
from dcgmm.options import PATH, Options, Rule, among, number, one_or_several, option, whole
from dcgmm.outliers.options import DEFAULT_C, SCORES, VOTE
from dcgmm_cli.keys import keys
from dcgmm_cli.schema_in_place import CompareConfig, DataConfig, ResultsConfig, ShowConfig
from dcgmm_cli.schema_train import TrainConfig, device_option, seed_option, threads_option

SHOWN = 1000  # images in a picture
TEST = "test"  # images: the run's test images
OTHERS = tuple(name for name in NAMES if name not in OWN)


def _mask(default: str | None, help: str = "") -> Any:
    text = f"what is missing: {', '.join(AREAS)}; a picture or .npy file, not 0 there; nan: the input's NaN{help}"
    return option(default, text, PATH, choices=(*AREAS, "nan"))


def _share() -> Any:
    help = "share of the pixels that is missing; null: half, of centre a quarter"
    return option(None, help, number(above=0, below=1, example=0.5))


@dataclass
class FollowUpConfig(Options):
    """What every command that works on a trained model takes."""

    run: str = option("latest", "the training run: its path, its name, or latest")
    runs_dir: str = option("runs", "where run directories are", PATH, incidental=True)
    dataset: DataPlaceOptions = option(DataPlaceOptions)  # null: where they were when the run was trained
    device: str = device_option()
    threads: int | None = threads_option()


@dataclass
class OutlierOptions(Options):
    """What the outliers are that a model is judged by, and how it tells them."""

    classes: list[Any] | None = option(
        None, "outlier classes, by number or name; null: all that the run was not trained on"
    )
    dataset: str | None = option(
        None,
        "another data set, of the same image shape, whose test images are the outliers",
        among(OTHERS),
        choices=OTHERS,
    )
    path: str | None = option(None, "a folder of images, or a .npy or .npz file, as the outliers", PATH)
    score: str = option(
        "joint",
        f"decides: {', '.join(SCORES)}; log_prob and standardised of the last GMM layer, or as gmm1_log_prob; vote",
        choices=(*SCORES, VOTE),
    )
    voters: list[str] | None = option(
        None, "other runs, of the same training images, that judge beside this one: adds the score vote"
    )
    c: float | None = option(
        None,
        "an outlier scores less than mean - c standard deviations of the training images' scores; null: "
        f"{DEFAULT_C:g}, or as false_alarms says",
        number(),
    )
    false_alarms: float | None = option(
        None,
        "share of training images that score as low as an outlier; sets the threshold in place of c",
        number(above=0, below=1, example=0.05),
    )
    count: int = option(4, "how many of the most and of the least outlying images are shown", whole(0, SHOWN))
    images: list[str] | None = option(None, "images to show as well: file names, or numbers of rows in scores.npz")
    maps: bool = option(False, "a heat map and an overlay for each image, and all maps in maps.npz")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.c is not None and self.false_alarms is not None:
            raise OptionError("false_alarms", "left out where c sets the threshold", self.false_alarms, OutlierOptions)


@dataclass
class OutliersConfig(FollowUpConfig):
    """`dcgmm outliers`."""

    outliers: OutlierOptions = option(OutlierOptions)
    input: str | None = option(
        None, "images to score instead: a folder, an image, or a .npy or .npz file; gives scores.csv", PATH
    )
    mask: str | None = _mask(None, "; null: nothing")
    share: float | None = _share()
    seed: int = seed_option("of random masks, and of the training images that are looked at through a mask")
    batch_size: int | None = option(
        None, "images at a time; null: as many as a fixed amount of memory holds, at most 200", whole(least=1)
    )


@dataclass
class SamplingConfig(SamplingOptions):
    """How many images are drawn, and how."""

    top_s: Any = option(
        1,
        "a layer draws among its control signal's so many strongest entries; [1,2,5]: a grid each",
        one_or_several(whole(least=1)),
    )
    count: int = option(100, "images that are drawn, shown and saved", whole(1, 10**7))


@dataclass
class QualityConfig(Options):
    """Figures of sample quality."""

    count: int = option(
        1000, "images that are drawn for the figures, with the same options; 0 leaves the figures out", whole(least=0)
    )
    bins: int = option(100, "k-means bins of NDB", whole(least=1))
    flat: str | None = option(None, "training run of a flat GMM (1L) whose samples are judged as well", PATH)
    frechet: bool = option(True, "Fréchet distance by a judge, which a data set's first figures train (half a minute)")


@dataclass
class DrawConfig(FollowUpConfig):
    """What both commands that draw images take."""

    seed: int = seed_option("of what is drawn")
    sampling: SamplingConfig = option(SamplingConfig)
    sharpening: SharpeningOptions = option(SharpeningOptions)
    quality: QualityConfig = option(QualityConfig)


@dataclass
class SampleConfig(DrawConfig):
    """`dcgmm sample`."""

    like: str | None = option(
        None,
        "images that variants are drawn of: test, or a folder, an image, a .npy or .npz file",
        PATH,
        choices=(TEST,),
    )
    images: int | None = option(None, "test images, drawn by the seed, for like=test; null: 10", whole(least=1))
    control: str | None = option(
        None, "a .npy or .npz file with control signals (N, H, W, K) of sampling.start that images are drawn from", PATH
    )
    classes: list[Any] | None = option(
        None, "classes to draw images of, equally many of each; null: any", Rule("a list of at least one class", bool)
    )
    sharpen: bool = option(False, "whether the Folding layers of sharpening.layers are sharpened")


@dataclass
class SharpenConfig(DrawConfig):
    """`dcgmm sharpen`."""

    input: str | None = option(
        None, "images to sharpen instead of draws: a folder, an image, or a .npy or .npz file", PATH
    )


@dataclass
class InpaintConfig(FollowUpConfig):
    """`dcgmm inpaint`."""

    seed: int = seed_option("of what is drawn")
    mask: str = _mask("right")
    share: float | None = _share()
    input: str | None = option(
        None, "images to complete: a folder, an image, a .npy or .npz file; null: test images", PATH
    )
    images: int | None = option(None, "test images, drawn by the seed, that are completed; null: 1000", whole(least=1))
    shown: int = option(10, "images in the figure", whole(1, SHOWN))
    completion: CompletionOptions = option(CompletionOptions)
    sharpen: bool = option(False, "whether the draws' missing pixels, and upper layers' values, are sharpened")
    sharpening: SharpeningOptions = option(SharpeningOptions)
    peers: bool = option(True, "whether other methods complete the images as well")
    judge: bool = option(True, "whether a classifier says which completions of test images it gives the right label")


@dataclass
class VisualizeConfig(FollowUpConfig):
    """`dcgmm visualize`."""

    seed: int = seed_option("of what is drawn")
    component: int | None = option(
        None, "component of the last GMM layer that the walk follows; null: the heaviest", whole(least=0)
    )
    images: int = option(
        2000, "training images that the use of components is counted on; 0 leaves it out", whole(least=0)
    )


@dataclass
class ClusterConfig(FollowUpConfig):
    """`dcgmm cluster`."""

    seed: int = seed_option("of what is drawn")
    cluster: ClusterOptions = option(ClusterOptions)


@dataclass
class ClassifyConfig(FollowUpConfig):
    """`dcgmm classify`."""

    seed: int = seed_option("of test images, held-out training images, and what is missing at random")
    methods: list[Method] = option(
        ["generative", "readout"],
        "generative (Bayes' rule), readout (linear)",
        Rule("a list of at least one method", bool),
    )
    generative: GenerativeOptions = option(GenerativeOptions)
    readout: ReadoutOptions = option(ReadoutOptions)
    input: str | None = option(
        None, "images to classify instead: a folder, an image, or an array file; classes.csv", PATH
    )
    mask: str | None = _mask(None, "; null: nothing")
    share: float | None = _share()
    images: int | None = option(None, "test images, drawn by the seed, to judge by; null: all", whole(least=1))
    missing: list[float] = option(
        [0.25, 0.5, 0.75, 0.9],
        "shares of the pixels that are missing at random along the curve; []: no curve",
        Rule("a list of numbers in (0, 1)", lambda shares: all(map(number(above=0, below=1).holds, shares))),
    )
    shown: int = option(20, "images shown of those that each method is most surely wrong about", whole(least=0))


class ExportFormat(StrEnum):
    """Files that a model is exported to."""

    npz = "npz"
    safetensors = "safetensors"
    onnx = "onnx"


class PixelType(StrEnum):
    """Number types of images."""

    uint8 = "uint8"
    float32 = "float32"


@dataclass
class ExportConfig(FollowUpConfig):
    """`dcgmm export`."""

    format: ExportFormat = option(
        ExportFormat.onnx, "onnx (the whole outlier detector), npz or safetensors (arrays by name)"
    )
    score: str = option("joint", "onnx: decides, as outliers.score", choices=SCORES)
    c: float = option(
        DEFAULT_C, "onnx: an outlier scores less than mean - c standard deviations, as outliers.c", number()
    )
    pixels: PixelType = option(PixelType.uint8, "onnx: type of its input: uint8, or float32 in [0, 1]")


SCHEMAS: dict[str, type[Options]] = {
    "train": TrainConfig,
    "outliers": OutliersConfig,
    "sample": SampleConfig,
    "sharpen": SharpenConfig,
    "inpaint": InpaintConfig,
    "visualize": VisualizeConfig,
    "cluster": ClusterConfig,
    "classify": ClassifyConfig,
    "export": ExportConfig,
    "show": ShowConfig,
    "compare": CompareConfig,
    "results": ResultsConfig,
    "data": DataConfig,
}


# Groups of configuration files, by command: they take a choice as a key takes a value.
GROUPS = {"train": ("arch", "dataset")}


@functools.cache
def marked(mark: str) -> frozenset[str]:
    """Keys of all commands whose field is marked so: `incidental` or `extendable`."""
    return frozenset(key.name for schema in SCHEMAS.values() for key in keys(schema) if key.field.metadata.get(mark))
