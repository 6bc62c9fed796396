"""How images are drawn and sharpened."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dcgmm.model.options import SharpeningPreset
from dcgmm.options import Options, Rule, number, one_or_several, option, whole

START_COMPONENTS = ("weights", "uniform", "cycle")
AREAS = ("right", "left", "top", "bottom", "centre", "random")


def _is_start(value: Any) -> bool:
    return isinstance(value, str) and (value in START_COMPONENTS or value.isdecimal())


@dataclass
class SamplingOptions(Options):
    """How samples are drawn (sections 3.1, 4.4).

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> options = dcgmm.generation.SamplingOptions(top_s=3)  # sample(..., options=options), or top_s=3 itself
        >>> options.top_s, options.std_scale
        (3, 1.0)
    """

    top_s: int = option(
        1, "S: a layer draws among its control signal's S strongest entries; 1 is greedy", whole(least=1)
    )
    std_scale: Any = option(
        1.0,
        "factor on all standard deviations, 1 is the model; [0,1]: one a GMM layer, gmm1 first",
        one_or_several(number(least=0)),
    )
    factor_scale: Any = option(
        1.0, "as std_scale, of the noise of factor-analysing layers' factors", one_or_several(number(least=0))
    )
    temperature: float = option(1.0, "the control signal is taken to the power 1 / temperature", number(above=0))
    start: str | None = option(None, "GMM layer to start in, as in gmm1; null: the last layer")
    components: str = option(
        "weights",
        "of the start: weights (drawn by them), uniform, cycle, or a component's number",
        Rule(f"one of {', '.join(START_COMPONENTS)}, or a component's number", _is_start),
        choices=START_COMPONENTS,
    )


@dataclass
class CompletionOptions(Options):
    """How images of which a part was seen are completed.

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> options = dcgmm.generation.CompletionOptions(count=8)  # inpaint(..., options=options), or count=8 itself
        >>> options.count, options.temperature
        (8, 10.0)
    """

    count: int = option(4, "draws of each image", whole(least=0))
    top_s: int | None = option(
        None, "S: components are drawn among so many of the largest weights; null: among all", whole(least=1)
    )
    temperature: float = option(
        10.0,
        "of the mean: the top layer's components count by their likelihood to the power of 1 / temperature",
        number(above=0),
    )
    # Chosen on held-out training images: without noise draws are nearer to them, in pixels and a classifier's features.
    std_scale: float = option(
        0.0, "factor on the noise of pixels, and of upper layers' values; 1 is the model", number(least=0)
    )
    factor_scale: float = option(1.0, "factor on the noise of factor-analysing layers' factors", number(least=0))


class Setting(StrEnum):
    """Named ways to sharpen.

    Examples:
        >>> import dcgmm
        >>> list(map(str, dcgmm.generation.Setting))
        ['default', 'paper']
    """

    default = "default"
    paper = "paper"


@dataclass(frozen=True)
class Steps:
    """How many steps of which size are made where.

    Args:
        iterations: G.
        step_size: eps_s; None takes `rate` over the largest curvature that L* can have, see `largest_curvature`.
        rate: in (0, 2): a coordinate that all windows cover goes this share of the way to its optimum in a step.
            Up to 2, no step lowers L*.
        target: name of the GMM layer whose log-likelihood is ascended; None is the next one above.
        penalty: lambda; what is ascended is L*(T) - lambda / 2 ||T - T_0||^2, T_0 being the start.
        layers: names of the Folding layers that are sharpened; None is all.
    """

    iterations: int
    step_size: float | None = None
    rate: float = 1.0
    target: str | None = None
    penalty: float = 0.0
    layers: tuple[str, ...] | None = None


PAPER = Steps(1000, step_size=0.1)  # section 3.2.3


@dataclass
class SharpeningOptions(Options):
    """How what Folding layers generate is sharpened (section 3.2.3).

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> options = dcgmm.generation.SharpeningOptions(iterations=10, layers=["folding1"])
        >>> model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-b"))
        >>> dcgmm.sample(model, 4, sharpening=options).images.shape
        torch.Size([4, 28, 28, 1])
    """

    setting: Setting = option(
        Setting.default, "default (part of the way, as the architecture bears it) or paper (1,000 steps of 0.1)"
    )
    iterations: int | None = option(None, "steps G; null: the setting's", whole(0, 10**6))
    step_size: float | None = option(None, "step eps_s; null: the setting's", number(above=0))
    rate: float | None = option(
        None, "instead of a step: its ratio to the largest curvature; null: the setting's", number(above=0, below=2)
    )
    target: str | None = option(
        None, "GMM layer whose log-likelihood is ascended; null: the next one above the Folding layer"
    )
    penalty: float = option(
        0.0, "lambda of the penalty lambda / 2 ||T - T_0||^2 on the distance from the start", number(least=0)
    )
    layers: list[str] | None = option(None, "Folding layers to sharpen, as in [folding1]; null: the setting's, or all")

    def steps(self, preset: SharpeningPreset) -> Steps:
        """What is done: the setting's values, the default's being the architecture's, where these leave them open."""
        if self.setting is Setting.paper:
            base = PAPER
        else:
            layers = None if preset.layers is None else tuple(preset.layers)
            base = Steps(preset.iterations, rate=preset.rate, layers=layers)
        # The setting's layers are for the next layers above as targets.
        layers = base.layers if self.target is None else None
        steps = replace(base, target=self.target, penalty=self.penalty, layers=layers)
        if self.iterations is not None:
            steps = replace(steps, iterations=self.iterations)
        if self.rate is not None:
            steps = replace(steps, rate=self.rate, step_size=None)
        if self.step_size is not None:
            steps = replace(steps, step_size=self.step_size)
        return steps if self.layers is None else replace(steps, layers=tuple(self.layers))


# Figures of samples and completions, and of which more is better.
HIGHER_IS_BETTER = {
    "diversity": True,
    "near_duplicates": False,
    "ndb": False,
    "js": False,
    "frechet": False,
    "mse": False,
    "right": True,  # share of completions that keep the class
    "peers": False,  # mean squared errors of other methods
}
