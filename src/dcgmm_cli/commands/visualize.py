"""`dcgmm visualize`: what a model has learnt, and how one of its top components becomes an image."""

from typing import Any

from rich.table import Table
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.generation.components import greedy_sample, mean_images
from dcgmm.model import DCGMM
from dcgmm.model.gmm import IN_USE
from dcgmm.training.weights import mean_responsibilities
from dcgmm_cli.figures.base import save_figure
from dcgmm_cli.figures.visualize import save_layer, walk_figure
from dcgmm_cli.job import Job
from dcgmm_cli.schema import VisualizeConfig
from dcgmm_cli.terminal import print_table
from dcgmm_cli.trained import open_run


def run(config: VisualizeConfig, job: Job) -> None:
    """Draw the run's model.

    Raises:
        InputError: the model has no such component, the run or its data are missing.
    """
    opened, figures = open_run(config, job), job.directory / "figures"
    model = opened.model
    component = _choose_component(model, config.component)
    use: dict[str, Tensor] = {}
    if config.images:
        images = opened.data().train.images[: config.images]
        use = {name: mean_responsibilities(model, images, name).flatten().cpu() for name in model.gmms}
        job.result["images"] = len(images)
    for name in model.gmms:
        save_layer(model, name, mean_images(model, name, config.seed), use.get(name), figures)
    walk = greedy_sample(model, component, config.seed)
    save_figure(walk_figure(model, component, walk), figures / "walk.png")
    job.result["component"] = component
    job.result["layers"] = {name: _facts(model, name, use.get(name)) for name in model.gmms}
    _print_table(job.result["layers"])


def _choose_component(model: DCGMM, component: int | None) -> int:
    """Number of a component of the top layer: as given, or the heaviest, mean over positions that have their own."""
    name, gmm = list(model.gmms.items())[-1]
    if component is None:
        return int(gmm.log_weights.exp().view(-1, gmm.components).mean(0).argmax())
    if component >= gmm.components:
        raise OptionError("component", f"one of {name}'s, 0 to {gmm.components - 1}", component, VisualizeConfig)
    return component


def _facts(model: DCGMM, name: str, use: Tensor | None) -> dict[str, Any]:  # (M,)
    gmm = model.gmms[name]
    return {
        "weights": gmm.log_weights.exp().flatten().tolist(),
        "use": None if use is None else use.tolist(),
        "mean_variance": float(gmm.variance.detach().mean()),
        "components_in_use": None if use is None else int((use > IN_USE / gmm.components).sum()),
    }


def _print_table(layers: dict[str, Any]) -> None:
    table = Table()
    for column in ("layer", "components", "in use", "largest weight", "mean variance"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for name, layer in layers.items():
        used = layer["components_in_use"]
        table.add_row(
            name,
            str(len(layer["weights"])),
            "-" if used is None else str(used),
            f"{max(layer['weights']):.3f}",
            f"{layer['mean_variance']:.4f}",
        )
    print_table(table)
