"""What a model is made of: its layers, the values that its GMM layers start from, how its samples are sharpened."""

import re
from dataclasses import dataclass, fields
from enum import StrEnum

from dcgmm.errors import InputError, OptionError
from dcgmm.options import Options, Rule, number, option, several, whole


class LayerType(StrEnum):
    """Types of layers.

    Examples:
        >>> import dcgmm
        >>> list(map(str, dcgmm.model.LayerType))
        ['folding', 'pooling', 'gmm']
    """

    folding = "folding"
    pooling = "pooling"
    gmm = "gmm"


# The fields that describe a layer of each type, the one that it needs first.
FIELDS = {
    LayerType.folding: ("kernel", "stride"),
    LayerType.pooling: ("kernel", "stride"),
    LayerType.gmm: ("components", "factors", "shared"),
}
_LETTERS = {LayerType.folding: "F", LayerType.pooling: "P", LayerType.gmm: "G"}


@dataclass
class LayerOptions(Options):
    """One layer of an architecture, as `{type: gmm, components: 25}`.

    Raises:
        OptionError: the type is unknown, or a value is out of its range.
        InputError: a field is missing, or is not for this type of layer.

    Examples:
        >>> from dcgmm.model import LayerOptions
        >>> print(LayerOptions("folding", kernel=[7, 7], stride=[3, 3]), LayerOptions("gmm", components=25))
        F(7,7,3,3) G(25)
    """

    type: LayerType = option(help="folding (windows into channels), pooling (largest values) or gmm (a mixture)")
    kernel: list[int] | None = option(
        None, "folding, pooling: [height, width] of the window, in positions", several(2, whole(least=1))
    )
    stride: list[int] | None = option(
        None, "folding, pooling: [down, right]; null: 1 for folding, the kernel for pooling", several(2, whole(least=1))
    )
    components: int | None = option(None, "gmm: number of components K, a square number", whole(least=1))
    factors: int | None = option(
        None, "gmm: factors L of each component's covariance; null or 0: it is diagonal", whole(least=0)
    )
    shared: bool | None = option(
        None, "gmm: whether all positions have the same parameters; false: each has its own; null: true"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = FIELDS[self.type]
        names = [each.name for each in fields(self) if each.name != "type"]
        given = [name for name in names if getattr(self, name) is not None]
        if extra := [name for name in given if name not in allowed]:
            raise InputError(f"{', '.join(extra)} is not for {self.type} layers, which take {', '.join(allowed)}")
        if allowed[0] not in given:
            raise InputError(f"a {self.type} layer needs {allowed[0]}")
        # One way to write each layer.
        if self.type is LayerType.folding and self.stride is None:
            self.stride = [1, 1]
        if self.type is LayerType.pooling and self.stride == self.kernel:
            self.stride = None
        if self.type is LayerType.gmm and self.shared is None:
            self.shared = True

    def __str__(self) -> str:
        """The layer as the paper writes it; G(K,L) has factors, G(K,own) parameters for each position."""
        numbers = [*(self.kernel or ()), *(self.stride or ()), *filter(None, (self.components, self.factors))]
        own = ["own"] if self.shared is False else []
        return f"{_LETTERS[self.type]}({','.join(map(str, numbers + own))})"


@dataclass
class SharpeningPreset(Options):
    """How samples of an architecture are sharpened by default: part of the way, so that it does no harm.

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> layers = [{"type": "folding", "kernel": [28, 28]}, {"type": "gmm", "components": 25}]
        >>> dcgmm.Architecture(layers, sharpening={"iterations": 5}).sharpening
        SharpeningPreset(iterations=5, rate=0.02, layers=None)
    """

    iterations: int = option(10, "steps of gradient ascent", whole(least=0))
    rate: float = option(0.02, "step over the largest that is safe, see largest_curvature", number(above=0, below=2))
    layers: list[str] | None = option(None, "Folding layers that are sharpened, as in [folding1]; null: all")


# It becomes part of a path.
NAME = Rule(
    "of up to 100 letters, digits, and any of . _ + - but at its beginning",
    lambda value: isinstance(value, str) and re.fullmatch(r"\w[\w.+-]{0,99}", value) is not None,
)


@dataclass
class Architecture(Options):
    """The stack of layers (`conf/arch/*.yaml`), what its input is raised to, how its samples are sharpened.

    Raises:
        OptionError: a value is out of its range, or a layer that is sharpened is no Folding layer of it.

    Examples:
        >>> import dcgmm
        >>> layers = [{"type": "folding", "kernel": [28, 28]}, {"type": "gmm", "components": 25}]
        >>> print(dcgmm.Architecture(layers, name="1L"))
        F(28,28,1,1) G(25)
    """

    layers: list[LayerOptions] = option(
        help="from the image up, each as {type: gmm, components: 25}; there is also factors: 6, and shared: false"
    )
    name: str = option("custom", "names the run directory", NAME)
    exponent: float = option(
        1.0, "pixel values in [0, 1] are raised to it: under 1 dark structure counts for more", number(above=0)
    )
    sharpening: SharpeningPreset = option(SharpeningPreset)

    def __post_init__(self) -> None:
        super().__post_init__()
        count = sum(layer.type is LayerType.folding for layer in self.layers)
        foldings = [f"folding{number}" for number in range(1, count + 1)]
        if self.sharpening.layers is not None and not set(self.sharpening.layers) <= set(foldings):
            rule = f"Folding layers of the architecture ({', '.join(foldings) or 'it has none'})"
            raise OptionError("sharpening.layers", rule, self.sharpening.layers, type(self))

    def __str__(self) -> str:
        """The layers as the paper writes them; an exponent before them."""
        before = "" if self.exponent == 1 else f"x^{self.exponent:g} "
        return before + " ".join(map(str, self.layers))


# A score is a difference of sums that grow with the precision, and loses as much as these are rounded by: of 784 pixels
# about half a nat.
MOST_PRECISE = {"float32": 1e4, "float64": 1e12}


class Start(StrEnum):
    """Start values of d = 1 / std."""

    limit = "limit"
    unit = "unit"


@dataclass
class GMMOptions(Options):
    """Start values and limits that all GMM layers of a model share.

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> precise = dcgmm.model.GMMOptions(precision_limit=100.0)
        >>> dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("1L"), precise).gmms["gmm1"].options.precision_sqrt_max
        10.0
    """

    loc_range: float = option(0.01, "centroids start in U[-loc_range, loc_range]", number(least=0))
    precision_limit: float = option(
        20.0,
        f"no component's precision 1 / variance exceeds this; in float32 at most {MOST_PRECISE['float32']:g}",
        number(above=0, most=MOST_PRECISE["float64"]),
    )
    precision_sqrt_min: float = option(0.01, "floor of d = 1 / std", number(least=1e-15))
    factor_floor: float = option(
        0.02, "least eigenvalue of a component's precision in units of its diagonal part", number(above=0, below=1)
    )
    precision_sqrt_start: Start = option(Start.limit, "start of d: limit (square root of precision_limit) or unit (1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.precision_sqrt_min < self.precision_sqrt_max:
            rule = f"below {self.precision_sqrt_max:g}, the square root of precision_limit"
            raise OptionError("precision_sqrt_min", rule, self.precision_sqrt_min, type(self))

    @property
    def precision_sqrt_max(self) -> float:
        """Largest d = 1 / std."""
        return float(self.precision_limit**0.5)


# Figures of how well a model knows its images, and of which more is better.
HIGHER_IS_BETTER = {
    "log_likelihood": True,
    "train_log_likelihood": True,
    "test_log_likelihood": True,
    "nats": True,
    "bits_per_dimension": False,
    "weights_in_use": True,
}
