"""The typed schema of every command's configuration: each key with its type, default and meaning.

Hydra merges the YAML files of `conf/` and the command line into these classes, so an unknown key or a value of
the wrong type fails before anything runs. The module imports neither torch nor Hydra: `--help` stays instant.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class DataRootConfig:
    """Where data sets are kept."""

    root: str = "${oc.env:DCGMM_DATA,${oc.env:HOME,.}/.cache/dcgmm}"  # where downloaded data sets are kept


@dataclass
class DatasetConfig(DataRootConfig):
    """Which images, and which part of them (`conf/dataset/*.yaml`)."""

    name: str = MISSING  # mnist, fashion_mnist, mnist_sample, fashion_mnist_sample, kmnist, cifar10, svhn, folder
    classes: list[int] | None = None  # labels to keep; null keeps all
    limit: int | None = None  # at most so many images of each split, first in file order; null takes all
    holdout: float = 0.0  # fraction of the training images, cut from their end, that stands in for the test set
    path: str | None = None  # folder only: images, in sub-folders by class, or train/ and test/ with such sub-folders
    size: list[int] | None = None  # folder only: [height, width] that images are resized to; null: all have one size
    color: bool = False  # folder only: three channels instead of one
    test_fraction: float = 0.2  # folder only, without train/ and test/: share of each class that becomes the test set


@dataclass
class LayerConfig:
    """One layer of an architecture, from the image up."""

    type: str = MISSING  # folding, pooling, power or gmm
    kernel: list[int] | None = None  # folding, pooling: [height, width] of the window, in positions
    stride: list[int] | None = None  # folding, pooling: [down, right]; null: 1 for folding, the kernel for pooling
    exponent: float | None = None  # power, the first layer if at all: what pixel values in [0, 1] are raised to
    components: int | None = None  # gmm: number of components K, a square number


@dataclass
class ArchConfig:
    """The stack of layers (`conf/arch/*.yaml`)."""

    name: str = "custom"  # names the run directory
    layers: list[LayerConfig] = MISSING  # from the image up, each as {type: gmm, components: 25}


@dataclass
class GMMConfig:
    """Start values and limits of all GMM layers."""

    loc_range: float = 0.01  # centroids start in U[-loc_range, loc_range]
    precision_limit: float = 20.0  # no component's precision 1 / variance exceeds this
    precision_sqrt_min: float = 0.01  # floor of d = 1 / std
    precision_sqrt_start: str = "limit"  # start of d: limit (the square root of precision_limit) or unit (1)


@dataclass
class LearningRateConfig:
    """Plain SGD ascent: parameter += rate * factor * gradient, the rate annealed from start to end."""

    start: float = 0.05  # eps_0
    end: float = 0.03  # eps_inf, floor of the rate
    logits: float = 0.05  # factor for the mixture weights' logits
    loc: float = 1.0  # factor for the centroids
    precision_sqrt: float = 1.0  # factor for d = 1 / std


@dataclass
class AnnealingConfig:
    """When the component smoothing and the learning rate shrink."""

    alpha: float = 0.03  # the objective is averaged over windows of round(1 / alpha) steps
    delta: float = 0.05  # it counts as stationary while its relative gain lies in (-2 delta, delta)
    gamma: float = 0.9  # factor that sigma and the rate then shrink by
    sigma_end: float = 0.01  # floor of the smoothing width sigma, in grid steps


@dataclass
class TrainerConfig:
    """How a model is trained."""

    epochs: int = 25  # passes over the training images
    batch_size: int = 100  # images a step
    centroid_epochs: float = 1.0  # length of phase 1, in which only centroids adapt
    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)
    annealing: AnnealingConfig = field(default_factory=AnnealingConfig)
    device: str = "auto"  # auto (cuda where there is one), cpu, cuda or cuda:N
    dtype: str = "float32"  # float32 or float64
    threads: int | None = None  # CPU threads; null: as many as the machine offers
    replicas: int = 1  # models trained side by side, of seeds seed, seed + 1, ...; each gets its own run directory
    checkpoint_epochs: int = 1  # a checkpoint is written every so many epochs, and at the end


@dataclass
class FollowUpConfig:
    """What every command that works on a trained model takes."""

    run: str = "latest"  # the training run: its path, its name, or latest
    runs_dir: str = "runs"  # where run directories are
    device: str = "auto"  # auto (cuda where there is one), cpu, cuda or cuda:N
    threads: int | None = None  # CPU threads; null: as many as the machine offers


@dataclass
class TrainConfig:
    """`dcgmm train`."""

    arch: ArchConfig = field(default_factory=ArchConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    gmm: GMMConfig = field(default_factory=GMMConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0  # of start values and shuffling
    runs_dir: str = "runs"  # where run directories are made
    run: str | None = None  # an interrupted run to go on with: its path, its name, or latest


@dataclass
class DataConfig:
    """`dcgmm data`."""

    fetch: Any = None  # data sets to fetch, as in [mnist,svhn], or all; null only lists them
    dataset: DataRootConfig = field(default_factory=DataRootConfig)


@dataclass
class ResultsConfig:
    """`dcgmm results`."""

    paths: list[str] = field(default_factory=lambda: ["runs"])  # directories with runs: words without =, as in runs/a
    where: list[str] = field(default_factory=list)  # conditions: every other column=value, as in arch=1L status=failed
    columns: Any = None  # columns, as in [arch,auroc.top], or all; null: what tells the runs apart, and main results
    group: Any = None  # settings to summarise over, as in seed: mean, deviation, worst and best of the results
    sort: str | None = None  # column to sort by; with a minus before it from large to small
    format: str = "table"  # table, csv, markdown or json
    output: str | None = None  # file to write to; null: standard output


@dataclass
class OutlierOptions:
    """What the outliers are that a model is judged by, and how it tells them."""

    classes: list[int] | None = None  # outlier classes; null: all that the run was not trained on
    dataset: str | None = None  # another data set, of the same image shape, whose test images are the outliers
    path: str | None = None  # a folder of images, or a .npy or .npz file, as the outliers
    score: str = "joint"  # decides: joint, ratio, pixels, combined, residual, log_prob, max_component or standardised
    c: float = 1.5  # an outlier scores less than mean - c standard deviations of the training images' scores
    count: int = 4  # how many of the most and of the least outlying images are shown
    images: list[str] | None = None  # images to show as well: file names, or numbers of rows in scores.npz


@dataclass
class OutliersConfig(FollowUpConfig):
    """`dcgmm outliers`."""

    outliers: OutlierOptions = field(default_factory=OutlierOptions)
    input: str | None = None  # images to score instead: a folder, an image, or a .npy or .npz file; gives scores.csv
    batch_size: int = 200  # images at a time


@dataclass
class SamplingConfig:
    """How images are drawn from a model."""

    count: int = 100  # images that are drawn, shown and saved
    top_s: Any = 1  # a layer draws among its control signal's so many strongest entries; [1,2,5]: a grid each
    std_scale: Any = 1.0  # factor on all standard deviations, 1 is the model; [0,1]: one a GMM layer, gmm1 first
    temperature: float = 1.0  # the control signal is taken to the power 1 / temperature
    start: str | None = None  # GMM layer to start in, as in gmm1; null: the last layer
    components: str = "weights"  # of the start: weights (drawn by them), uniform, cycle, or a component's number


@dataclass
class SharpeningConfig:
    """Gradient ascent on what the Folding layers generate."""

    setting: str = "default"  # default (partial, its steps fitted to the model) or paper (1,000 steps of 0.1)
    iterations: int | None = None  # steps G; null: the setting's
    step_size: float | None = None  # step eps_s; null: the setting's
    target: str | None = None  # GMM layer whose log-likelihood is ascended; null: the setting's, or the next one above
    penalty: float = 0.0  # lambda of the penalty lambda / 2 ||T - T_0||^2 on the distance from the start
    layers: list[str] | None = None  # Folding layers to sharpen, as in [folding1]; null: the setting's, or all


@dataclass
class QualityConfig:
    """Figures of sample quality."""

    count: int = 1000  # images that are drawn for the figures, with the same options; 0 leaves the figures out
    bins: int = 100  # k-means bins of NDB
    flat: str | None = None  # training run of a flat GMM (1L) whose samples are judged as well


@dataclass
class SampleConfig(FollowUpConfig):
    """`dcgmm sample`."""

    seed: int = 0  # of what is drawn
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    sharpen: bool = False  # whether the Folding layers of sharpening.layers are sharpened
    sharpening: SharpeningConfig = field(default_factory=SharpeningConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)


@dataclass
class SharpenConfig(FollowUpConfig):
    """`dcgmm sharpen`."""

    seed: int = 0  # of what is drawn
    input: str | None = None  # images to sharpen instead of draws: a folder, an image, or a .npy or .npz file
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    sharpening: SharpeningConfig = field(default_factory=SharpeningConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)


@dataclass
class VisualizeConfig(FollowUpConfig):
    """`dcgmm visualize`."""

    seed: int = 0  # of what is drawn
    component: int | None = None  # component of the last GMM layer that the walk follows; null: the heaviest
    images: int = 2000  # training images that the use of components is counted on; 0 leaves it out


@dataclass
class ClusterOptions:
    """Which images are clustered, by what, and what the clustering is judged in."""

    count: int | None = 1000  # images, drawn by the seed, at most as many as there are; 1000 as for Table 2; null: all
    split: str = "test"  # images they are drawn from: test or train
    space: str = "pixels"  # what distances are taken in: pixels or responsibilities (of the layer, at its position)
    layer: str | None = None  # GMM layer whose most likely component is the cluster, as in gmm1; null: the last
    position: list[int] | None = None  # [row, column] of the layer's positions, from 0; needed where it has several
    merge: str | None = None  # components to merge to fewer clusters: ward (any two), grid (neighbours); null: none
    classes: int | None = None  # clusters that are left by merging; null: as many as the images have classes
    training: int = 10000  # training images that name the clusters for accuracy by majority; 0 leaves it out
    nearest: int = 10  # images shown a cluster, those nearest to its mean


@dataclass
class ClusterConfig(FollowUpConfig):
    """`dcgmm cluster`."""

    seed: int = 0  # of what is drawn
    cluster: ClusterOptions = field(default_factory=ClusterOptions)
