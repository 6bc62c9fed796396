"""The model: layers, the stack, and the formulas they are made of. Knows neither configuration files nor runs."""

from dcgmm_cli.model.annealing import AnnealingRule, AnnealingState
from dcgmm_cli.model.dcgmm import DCGMM
from dcgmm_cli.model.folding import Folding
from dcgmm_cli.model.gmm import GMM, GMMOptions, Rates, Scored
from dcgmm_cli.model.pooling import Pooling
from dcgmm_cli.model.power import Power
from dcgmm_cli.model.shapes import Shape, Window

__all__ = [
    "DCGMM",
    "GMM",
    "AnnealingRule",
    "AnnealingState",
    "Folding",
    "GMMOptions",
    "Pooling",
    "Power",
    "Rates",
    "Scored",
    "Shape",
    "Window",
]
