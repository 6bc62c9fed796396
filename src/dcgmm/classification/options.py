"""How classes are told from a model's components."""

from dataclasses import dataclass
from enum import StrEnum

from dcgmm.options import Options, Rule, number, option


class Method(StrEnum):
    """Ways to tell classes.

    Examples:
        >>> import dcgmm
        >>> list(map(str, dcgmm.classification.Method))
        ['generative', 'readout']
    """

    generative = "generative"
    readout = "readout"


@dataclass
class GenerativeOptions(Options):
    """How each class's mixture weights are counted, and its positions combined.

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> dcgmm.classification.GenerativeOptions(concentration=1.0)  # or fit_classifier(..., concentration=1.0)
        GenerativeOptions(concentration=1.0, per_position=None, position_weight=None)
    """

    concentration: float = option(
        0.1, "a, pseudo-count of each component in each class (Dirichlet smoothing of the weights)", number(above=0)
    )
    per_position: bool | None = option(
        None,
        "whether each position of the last GMM layer has its own class weights; null: chosen on held-out images",
    )
    position_weight: float | None = option(
        None,
        "power of each position's likelihood; 1: positions are independent given the class; null: chosen likewise",
        number(above=0),
    )


@dataclass
class ReadoutOptions(Options):
    """What a linear readout sees, and how it is regularised.

    Raises:
        OptionError: a value is out of its range.

    Examples:
        >>> import dcgmm
        >>> dcgmm.classification.ReadoutOptions(layers=["gmm1"])  # or fit_classifier(..., "readout", layers=["gmm1"])
        ReadoutOptions(layers=['gmm1'], C=None)
    """

    layers: list[str] | None = option(
        None,
        "GMM layers whose responsibilities are read out, as in [gmm1]; null: all",
        Rule("a list of at least one GMM layer", bool),
    )
    C: float | None = option(
        None, "inverse strength of the regularisation; null: chosen on held-out training images", number(above=0)
    )


# Figures of a classifier, and of which more is better; its accuracy is declared with that of clusterings.
HIGHER_IS_BETTER = {"log_loss": False, "ece": False}
