"""Pictures of a model: what its GMM layers have learnt, and how a component becomes an image.

Shapes: K components, M of all positions (K, or H W K where each has its own), D features, kh kw positions of a window,
h w pixels of a picture.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dcgmm.generation.sampling import Samples
from dcgmm.model import DCGMM, GMM, FactorGMM, Folding
from dcgmm_cli.figures.base import (
    component_label,
    numbered,
    picture,
    pixels_of,
    save_components,
    save_figure,
    save_sheet,
    tile,
)

CELL = 72  # pixels of a component's picture, about; small ones are larger, where single values would vanish
ROWS, FACTORS = 16, 8  # components and factors of each that are drawn, at most


def save_layer(model: DCGMM, name: str, means: Tensor, use: Tensor | None, folder: Path) -> None:
    """Centroids, variances, mean images, weights and use of a GMM layer, each on its component grid; its factors.

    Args:
        model: the model.
        name: the GMM layer's name.
        means: (K, H, W, C), the mean image that each component generates.
        use: (M,), the share of positions at which each component is the most likely one; None leaves it out.
        folder: where `centroids_<name>.png`, ... are written; `factors_<name>.png` where the layer has factors.
    """
    gmm = model.gmms[name]
    variance = gmm.flat(gmm.variance.detach())
    own = {
        "centroids": centroids(model, name),
        "variances": value_maps(model, name, variance / variance.max()),
    }
    for kind, images in own.items():
        save_components(images, gmm, folder / f"{kind}_{name}.png", max(3, CELL // images.shape[1]))
    save_sheet(numbered(picture(means), max(3, CELL // means.shape[1])), folder / f"mean_images_{name}.png")
    if isinstance(gmm, FactorGMM) and gmm.has_factors:
        rows = factor_rows(model, name)
        beside = [""] * (rows.shape[1] - 1)
        labels = [text for index in _heaviest(gmm).tolist() for text in (component_label(gmm, index), *beside)]
        sheet = numbered(rows.flatten(0, 1), max(3, CELL // rows.shape[2]), labels, columns=rows.shape[1])
        save_sheet(sheet, folder / f"factors_{name}.png")
    weights = gmm.log_weights.exp().detach().cpu().flatten()
    save_figure(component_bars(name, weights, use), folder / f"weights_{name}.png")


def value_maps(model: DCGMM, name: str, values: Tensor) -> Tensor:  # (M, D) -> (M, h, w, 1 or 3)
    """One value a feature of a GMM layer, as patches: of the image, or of the layer below.

    Over a Folding layer a patch has kh x kw positions of C channels. Channels of an image are pixels; the K channels
    of a GMM layer below are drawn on its component grid, one such grid for each position (Figure 2).
    """
    layers = list(model.named_layers.values())
    below = layers[: layers.index(model.gmms[name])]
    kh, kw = below[-1].window.kernel if below and isinstance(below[-1], Folding) else (1, 1)
    patches = values.reshape(len(values), kh, kw, -1)
    if name == next(iter(model.gmms)):
        return picture(patches)
    return torch.stack([tile(signal_grids(patch), kw) for patch in patches])


def centroids(model: DCGMM, name: str) -> Tensor:  # (M, h, w, 1 or 3)
    """A GMM layer's centroids as patches, pixels as they look in images, responsibilities brightened."""
    gmm = model.gmms[name]
    loc = gmm.flat(gmm.loc.detach())
    return value_maps(model, name, model.pixel_values(loc) if name == next(iter(model.gmms)) else brightened(loc))


def brightened(responsibilities: Tensor) -> Tensor:
    """Responsibilities on a square-root scale whose white is the largest: most are too small to be seen otherwise."""
    positive = responsibilities.clamp(min=0)
    return (positive / positive.max().clamp(min=torch.finfo(positive.dtype).tiny)).sqrt()


def factor_rows(model: DCGMM, name: str) -> Tensor:  # (k, 1 + l, h, w, 1 or 3)
    """Centroids of the heaviest components of a GMM layer, each before what its strongest factors add.

    Grey adds nothing, brighter is more, and one scale holds for all factors of a component, which are of any sign.
    """
    gmm = model.gmms[name]
    assert isinstance(gmm, FactorGMM)
    heaviest = _heaviest(gmm)
    directions = gmm.flat(gmm.loadings.detach())[heaviest].mT  # (k, L, D)
    strongest = directions.square().sum(-1).argsort(descending=True)[:, :FACTORS]
    shown = directions.take_along_dim(strongest.unsqueeze(-1), 1)
    largest = shown.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(shown.dtype).tiny)
    values = (0.5 + 0.5 * shown / largest).flatten(0, 1)
    pictures = value_maps(model, name, values)
    rows = pictures.view(*shown.shape[:2], *pictures.shape[1:])
    return torch.cat([centroids(model, name)[heaviest].unsqueeze(1), rows], 1)


def _heaviest(gmm: GMM) -> Tensor:  # (k,)
    """Components of a GMM layer that have the most weight, of all positions."""
    return gmm.flat(gmm.log_weights.detach()).argsort(descending=True)[:ROWS]


def signal_grids(signal: Tensor) -> Tensor:  # (H, W, K) -> (H W, side, side, 1)
    """A control signal as one component grid a position."""
    side = int(signal.shape[-1] ** 0.5)
    return signal.reshape(-1, side, side, 1)


def component_bars(name: str, weights: Tensor, use: Tensor | None) -> Figure:  # (M,), (M,)
    """Mixture weights of a GMM layer, and the share of positions at which each component is the most likely one."""
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    index = torch.arange(len(weights)).numpy()
    width = 0.8 if use is None else 0.4
    axes.bar(index, weights.numpy(), width, label="mixture weight")
    if use is not None:
        axes.bar(index + width, use.numpy(), width, label="use on training images")
    axes.set(xlabel=f"component of {name}", ylabel="share")
    axes.legend(fontsize="small", ncols=2, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def walk_figure(model: DCGMM, component: int, samples: Samples) -> Figure:
    """Figure 2: one top component, its control signal in the layer below, the patches drawn by it, the image.

    Args:
        model: the model.
        component: number of the top layer's component.
        samples: one image that was drawn from it.
    """
    *lower, top = model.gmms
    grid = torch.zeros(model.gmms[top].components, dtype=torch.float32)
    grid[component] = 1
    panels = [(f"{top}: component {component}", tile(signal_grids(grid.view(1, 1, -1)), 1))]
    for name in reversed(lower):
        signal = brightened(samples.control[name][0].cpu())
        panels.append((f"control signal of {name}", tile(signal_grids(signal), signal.shape[1])))
    first = next(iter(model.gmms))
    chosen = model.gmms[first].flat_index(samples.components[first][0]).cpu()
    patches = centroids(model, first).cpu()[chosen.flatten()]
    panels.append((f"centroids of {first} that were chosen", tile(patches, chosen.shape[1])))
    panels.append(("image", picture(samples.images.cpu())[0]))
    return panel_row(panels)


def panel_row(panels: Sequence[tuple[str, Tensor]]) -> Figure:  # (H, W, 1 or 3) each
    """Pictures with titles in a row."""
    figure = Figure(figsize=(3 * len(panels), 3.2), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.imshow(pixels_of(image), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize="medium")
        axes.set_axis_off()
    return figure
