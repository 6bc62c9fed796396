"""`dcgmm visualize`: what a model has learnt, and how one of its top components becomes an image."""

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dcgmm_cli.commands.sample import picture
from dcgmm_cli.config import VisualizeConfig
from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.model import DCGMM, GMM, Folding
from dcgmm_cli.plots import component_bars, save_figure, save_image, tile, walk_figure
from dcgmm_cli.sampling import SamplingOptions, sample
from dcgmm_cli.statistics import image_batches
from dcgmm_cli.trained import open_run


def run(
    config: VisualizeConfig,
    overrides: list[str],
    directory: Path,
    result: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Draw the run's model into `directory`, and fill `result`.

    Raises:
        UserError: the component or the number of images cannot be, the run or its data are missing.
    """
    if config.images < 0:
        raise UserError(f"images must be at least 0, not {config.images}")
    trained = open_run(config, directory)
    model, figures = trained.model, directory / "figures"
    top = list(model.gmms)[-1]
    heaviest = int(model.gmms[top].logits.argmax())
    component = heaviest if config.component is None else config.component
    if not 0 <= component < model.gmms[top].components:
        raise UserError(f"component={component} is not in {top}, which has 0 to {model.gmms[top].components - 1}")
    use: dict[str, Tensor] = {}
    if config.images:
        images = trained.data().train.images[: config.images]
        use = component_use(model, images.to(model.device))
        result["images"] = len(images)
    for name, gmm in model.gmms.items():
        _save_layer(model, name, gmm, use.get(name), config.seed, figures)
    _save_walk(model, top, component, config.seed, figures)
    result["component"] = component
    result["layers"] = {
        name: {
            "weights": gmm.log_weights.exp().tolist(),
            "use": use[name].tolist() if use else None,
            "mean_variance": float(gmm.precision_sqrt.detach().pow(-2).mean()),
            "components_in_use": int((use[name] > 0).sum()) if use else None,
        }
        for name, gmm in model.gmms.items()
    }
    _print_table(result["layers"])


@torch.no_grad()
def component_use(model: DCGMM, images: Tensor) -> dict[str, Tensor]:  # (N, H, W, C) -> (K,) each
    """Share of positions and images at which each component of each GMM layer is the most likely one."""
    counts = {name: torch.zeros(gmm.components, dtype=torch.long) for name, gmm in model.gmms.items()}
    for batch in image_batches(images, 500, model.dtype):
        for name, scored in model.score(batch).items():
            winner = scored.component_scores.argmax(-1).flatten().cpu()
            counts[name] += torch.bincount(winner, minlength=len(counts[name]))
    return {name: count.double() / count.sum() for name, count in counts.items()}


@torch.no_grad()
def mean_images(model: DCGMM, name: str, seed: int, draws: int = 16) -> Tensor:  # (K, H, W, C)
    """Mean image that each component of a GMM layer generates: no noise in the Gaussians, lower components drawn.

    At a layer with several positions, every position is given the component.
    """
    gmm = model.gmms[name]
    lower = [layer.components for layer in list(model.gmms.values())[: list(model.gmms).index(name)]]
    top_s, means = min([gmm.components, *lower]), []
    for component in range(gmm.components):
        options = SamplingOptions(top_s, 0.0, start=name, components=str(component))
        generator = torch.Generator(model.device).manual_seed(seed)
        means.append(sample(model, draws, options, generator).images.mean(0))
    return torch.stack(means)


def centroid_maps(model: DCGMM, gmm: GMM, values: Tensor) -> Tensor:  # (K, D) -> (K, h, w, c)
    """One value a feature, as patches: of the image, or of the layer below with a position's channels in a square.

    Over a Folding layer a patch has kh x kw positions of C channels. 1 or 3 channels of an image are pixels; the K
    channels of a GMM layer below are drawn on its component grid, one such grid for each position (Figure 2).
    """
    layers = list(model.layers)
    index = layers.index(gmm)
    below = layers[index - 1] if index else None
    kh, kw = below.window.kernel if isinstance(below, Folding) else (1, 1)
    channels = values.shape[-1] // (kh * kw)
    patches = values.reshape(-1, kh, kw, channels)
    if not any(isinstance(layer, GMM) for layer in layers[:index]):
        return picture(patches)
    return torch.stack([tile(signal_grids(patch), kw) for patch in patches])


def centroids(model: DCGMM, gmm: GMM) -> Tensor:  # (K, h, w, c)
    """A GMM layer's centroids as patches, pixels as they look in images."""
    loc = gmm.loc.detach()
    return centroid_maps(model, gmm, model.pixel_values(loc) if gmm is model.gmms["gmm1"] else loc)


def signal_grids(signal: Tensor) -> Tensor:  # (H, W, K) -> (H W, side, side, 1)
    """A control signal as one component grid a position."""
    side = int(signal.shape[-1] ** 0.5)
    return signal.reshape(-1, side, side, 1)


def _enlarge(size: int) -> int:
    """Pixels of a picture for one of a cell: cells of about 72 pixels, larger ones where single values would vanish."""
    return max(3, 72 // size)


def _save_layer(model: DCGMM, name: str, gmm: GMM, use: Tensor | None, seed: int, figures: Path) -> None:
    """Centroids, variances, mean images, weights and use of a GMM layer, each on its component grid."""
    loc = centroids(model, gmm)
    variance = gmm.precision_sqrt.detach().pow(-2)
    spread = centroid_maps(model, gmm, variance / variance.max())
    save_image(tile(loc, gap=2), figures / f"centroids_{name}.png", _enlarge(loc.shape[1]))
    save_image(tile(spread, gap=2), figures / f"variances_{name}.png", _enlarge(spread.shape[1]))
    means = picture(mean_images(model, name, seed))
    save_image(tile(means, gap=2), figures / f"mean_images_{name}.png", _enlarge(means.shape[1]))
    save_figure(component_bars(name, gmm.log_weights.exp().detach().cpu(), use), figures / f"weights_{name}.png")


def _save_walk(model: DCGMM, top: str, component: int, seed: int, figures: Path) -> None:
    """Figure 2: one top component, its control signal in the layer below, the patches drawn by it, the image."""
    options = SamplingOptions(1, 0.0, start=top, components=str(component))
    samples = sample(model, 1, options, torch.Generator(model.device).manual_seed(seed))
    names, layers = list(model.gmms), model.gmms
    panels: list[tuple[str, Tensor]] = []
    grid = torch.zeros(layers[top].components)
    grid[component] = 1
    panels.append((f"{top}: component {component}", tile(signal_grids(grid.view(1, 1, -1)), 1)))
    for name in reversed(names[:-1]):
        signal = samples.control[name][0].clamp(0, 1).cpu()
        panels.append((f"control signal of {name}", tile(signal_grids(signal), signal.shape[1])))
    first = layers[names[0]]
    chosen = samples.components[names[0]][0].cpu()
    patches = centroids(model, first)[chosen.flatten().to(first.loc.device)].cpu()
    panels.append((f"centroids of {names[0]} that were chosen", tile(patches, chosen.shape[1])))
    panels.append(("image", picture(samples.images.cpu())[0]))
    save_figure(walk_figure(panels), figures / "walk.png")


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
    Console().print(table)
