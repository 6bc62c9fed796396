"""Pictures of a training run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from dcgmm.model import DCGMM, Folding
from dcgmm_cli.figures.base import save_components, save_figure

FEW = 10  # measurements that are marked one by one
EARLY = 0.03  # share of a training whose measurements may leave the axes


def save_training_figures(model: DCGMM, home: Path, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Training curves, and the first GMM layer's centroids where they are patches of an image, in a run directory."""
    if metrics:  # none, where training was shorter than one annealing window
        save_figure(training_curves(metrics), home / "figures" / "training.png")
    gmm, (first, second, *_) = model.gmms["gmm1"], [*model.layers, None]
    if isinstance(first, Folding) and second is gmm and model.input_shape.channels in (1, 3):
        kernel = first.window.kernel
        patches = model.pixel_values(gmm.loc.detach()).reshape(-1, *kernel, model.input_shape.channels)
        save_components(patches, gmm, home / "figures" / "centroids_gmm1.png", enlarge=max(1, 64 // kernel[0]))


def training_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Log-likelihood, sigma and learning rate of each GMM layer over the epochs, from a run's measurements."""
    names = list(dict.fromkeys(name for line in metrics for name in line["layers"]))
    figure = Figure(figsize=(4 * len(names), 6.5), layout="constrained")
    axes = figure.subplots(3, len(names), squeeze=False, sharex=True)
    epochs = [line["epoch"] for line in metrics]
    marker = "." if len(metrics) < FEW else ""  # a line needs two

    def curve(name: str, key: str) -> list[float]:
        return [line["layers"][name][key] for line in metrics]

    for column, name in enumerate(names):
        likelihood, sigma, rate = axes[:, column]
        likelihood.plot(epochs, curve(name, "log_likelihood"), marker=marker, lw=0.8, label="log-likelihood (batch)")
        likelihood.plot(epochs, curve(name, "objective"), marker=marker, lw=1.2, label="objective (window)")
        values = curve(name, "log_likelihood")
        low, high = limits(values + curve(name, "objective"), len(values))
        likelihood.set_ylim(low, high)
        if not low <= values[0] <= high:
            likelihood.set_title(f"starts at {values[0]:,.0f}", loc="right", fontsize="small")
        likelihood.set_title(name, loc="left")
        sigma.semilogy(epochs, curve(name, "sigma"), color="C2", marker=marker)
        sigma.yaxis.set_major_formatter("{x:g}")
        sigma.yaxis.set_minor_formatter(LogFormatter())  # of less than a decade: 1.2, not a product
        rate.plot(epochs, curve(name, "learning_rate"), color="C3", marker=marker)
        rate.set_xlabel("epoch")
    axes[0, 0].set_ylabel("nats a position")
    figure.legend(handles=axes[0, 0].lines, fontsize="small", ncols=2, loc="outside upper right", frameon=False)
    axes[1, 0].set_ylabel("sigma (grid steps)")
    axes[2, 0].set_ylabel("learning rate")
    return figure


def limits(values: Sequence[float], count: int) -> tuple[float, float]:
    """Axis limits for two curves of `count` values, one after the other, in which all but their very start is seen.

    The first steps can be thousands of nats below all that follows, and would flatten the rest.
    """
    start = int(EARLY * count)
    later = [*values[start:count], *values[count + start :]]
    low, high = min(later), max(later)
    margin = 0.05 * (high - low) or 1.0
    # The start as well, where it does not take more than half of the height.
    whole = [value for value in values if low - (high - low) <= value <= high + (high - low)]
    return min(whole) - margin, max(whole) + margin
