"""How a model is trained: epochs, learning rate, annealing."""

from dataclasses import dataclass

from dcgmm.errors import OptionError
from dcgmm.options import Options, number, option, several, whole

BATCH = 100  # images a step
EPOCHS = 25  # of a training where nothing is said of its length, as in the paper
# ... but it takes so many times the steps in which annealing ends at the soonest. On 300 to 2,000 images of MNIST it
# ended after 1.2 to 1.5 times that.
ANNEALINGS = 3


@dataclass
class LearningRateOptions(Options):
    """Plain SGD ascent: parameter += rate * factor * gradient, the rate annealed from start to end.

    Rates are for a GMM layer of up to 25 components; one of more, K, takes K / 25 times as much.

    Raises:
        OptionError: a value is out of its range, or the end lies above the start.

    Examples:
        >>> import dcgmm
        >>> dcgmm.training.TrainerOptions(learning_rate={"start": 0.1}).learning_rate.end
        0.03
    """

    start: float = option(
        0.05, "eps_0, of a layer of up to 25 components; one of K takes K / 25 of it", number(above=0)
    )
    end: float = option(0.03, "eps_inf, floor of the rate", number(above=0))
    logits: float = option(0.05, "factor for the mixture weights' logits", number(least=0))
    loc: float = option(1.0, "factor for the centroids", number(least=0))
    precision_sqrt: float = option(1.0, "factor for d = 1 / std", number(least=0))
    factors: float = option(3.0, "factor for the factors of factor-analysing layers", number(least=0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end > self.start:
            raise OptionError("end", f"at most the start, {self.start:g}", self.end, type(self))


@dataclass
class AnnealingOptions(Options):
    """When the component smoothing and the learning rate shrink (section 3.2.1).

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> dcgmm.training.AnnealingOptions(alpha=0.01).window  # or fit(..., annealing={"alpha": 0.01})
        100
    """

    alpha: float = option(
        0.03, "the objective is averaged over windows of round(1 / alpha) steps", number(above=0, most=1)
    )
    delta: float = option(
        0.05, "it counts as stationary while its relative gain lies in (-2 delta, delta)", number(above=0)
    )
    gamma: float = option(0.9, "factor that sigma and the rate then shrink by", number(above=0, below=1))
    sigma_end: float = option(0.01, "floor of the smoothing width sigma, in grid steps", number(above=0))

    @property
    def window(self) -> int:
        """Steps over which the objective is averaged, W = round(1 / alpha)."""
        return round(1 / self.alpha)


@dataclass
class TrainerOptions(Options):
    """How a model is trained.

    Raises:
        OptionError: a value is out of its range, or there are steps beside epochs.

    Examples:
        >>> import dcgmm
        >>> dcgmm.training.TrainerOptions(epochs=5, annealing={"gamma": 0.8}).annealing.window  # or fit(..., epochs=5)
        33
    """

    epochs: int | None = option(
        None,
        f"passes over the training images; null: {EPOCHS}, or more of few images (see steps)",
        whole(least=1),
        extendable=True,
    )
    steps: int | None = option(
        None,
        f"steps of training, in place of epochs; null: by epochs, and where these are null too at least {ANNEALINGS} "
        "times as many as annealing takes at the soonest",
        whole(least=1),
        extendable=True,
    )
    batch_size: int | None = option(
        None,
        f"images a step; null: {BATCH}, or all of fewer; what is left at an epoch's end waits for the next",
        whole(least=1),
    )
    tile: list[int] | None = option(
        None,
        "[height, width] of tiles, drawn at random places of larger images, that a step sees instead of these: an "
        "epoch takes as many as cover the images; null: whole images",
        several(2, whole(least=1)),
    )
    block_shuffle: int | None = option(
        None,
        "read images in blocks of so many neighbours, ten of which are mixed at a time: for data that memory cannot "
        "hold, on a disk that is slow at random; null: all images are mixed",
        whole(least=1),
    )
    centroid_epochs: float = option(1.0, "length of phase 1, in which only centroids adapt", number(least=0))
    factor_epochs: float = option(
        10.0,
        "phase 3, from where a layer with factors is annealed: points go to the component that wins without them",
        number(least=0),
    )
    learning_rate: LearningRateOptions = option(LearningRateOptions)
    annealing: AnnealingOptions = option(AnnealingOptions)
    weights_by_use: bool = option(
        True, "at the end mixture weights are set to how much their components are used by the training images"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and self.steps is not None:
            raise OptionError("steps", f"left out beside epochs={self.epochs}", self.steps, TrainerOptions)
