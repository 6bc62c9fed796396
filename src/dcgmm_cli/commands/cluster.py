"""`dcgmm cluster`: judge a layer's most likely components as clusters of images, beside other methods."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from dcgmm_cli.clustering import (
    ClusterFigures,
    cluster_figures,
    contingency_matrix,
    gaussian_mixture_labels,
    kmeans_labels,
    merge_ward,
    nearest_to_means,
    torus_neighbours,
)
from dcgmm_cli.commands.sample import picture
from dcgmm_cli.config import ClusterConfig, ClusterOptions
from dcgmm_cli.datasets import ImageData, Split
from dcgmm_cli.errors import UserError
from dcgmm_cli.interruption import Interruption
from dcgmm_cli.model import DCGMM, GMM
from dcgmm_cli.plots import save_figure, tile
from dcgmm_cli.statistics import image_batches, to_float
from dcgmm_cli.trained import open_run

log = logging.getLogger(__name__)

BATCH = 500  # images at a time
PEERS = {"k-means": kmeans_labels, "scikit-learn GMM": gaussian_mixture_labels}
COLUMNS = {
    "clusters": "clusters",
    "dunn": "Dunn",
    "dunn_centroid": "Dunn (centroids)",
    "davies_bouldin": "Davies-Bouldin",
    "silhouette": "silhouette",
    "calinski_harabasz": "Calinski-Harabasz",
    "nmi": "NMI",
    "adjusted_rand": "adj. Rand",
    "purity": "purity",
    "accuracy": "matched",
    "majority_accuracy": "majority",
}


@dataclass(frozen=True)
class Assigned:
    """What one position of a GMM layer says of images."""

    labels: Tensor  # (N,), the most likely component
    responsibilities: Tensor  # (N, K)


@dataclass(frozen=True)
class _Sample:
    """The images that are clustered, and others that name the clusters."""

    images: Split
    training: Split
    points: Tensor  # (N, F), what distances are taken in
    directory: Path
    seed: int


@dataclass(frozen=True)
class _Compared:
    """A clustering and its peers."""

    methods: dict[str, ClusterFigures]
    unconverged: list[str]  # methods whose figures are those of a fit that was cut short


def run(
    config: ClusterConfig,
    overrides: list[str],
    directory: Path,
    result: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Judge the run's model as a clustering, write tables and pictures into `directory`, and fill `result`.

    Raises:
        UserError: a value of the configuration cannot be, or there are no such images, run, layer or position.
    """
    options = config.cluster
    _check(options)
    trained = open_run(config, directory)
    model = trained.model
    name, gmm, position = choose_position(model, options.layer, options.position)
    data = trained.data()
    images, training = draw(data, options, config.seed)
    clusters = options.classes or len(images.labels.unique())
    if options.merge is not None and clusters > gmm.components:
        raise UserError(
            f"{name} has {gmm.components} components, which cannot be merged to {clusters} clusters: "
            f"give cluster.classes, 1 to {gmm.components}, or leave out cluster.merge"
        )
    assigned, named = (assign(model, name, position, part.images) for part in (images, training))
    pixels = options.space == "pixels"
    points = to_float(images.images, torch.float32).flatten(1) if pixels else assigned.responsibilities
    sample = _Sample(images, training, points, directory, config.seed)
    log.info("clustering %d %s images of %s by %s at %s", len(images), options.split, data.name, name, position)

    title = f"{len(images):,} {options.split} images of {data.name}, distances in {options.space}"
    compared = _compare(sample, name, assigned.labels, named.labels)
    _save_pictures(sample, assigned.labels, options.nearest, "", data.class_names)
    _print_table(compared.methods, title)
    result.update(compared.methods[name])
    result.update(layer=name, position=list(position), components=gmm.components, space=options.space)
    result.update(split=options.split, images=len(images), training_images=len(training), **asdict(compared))
    if options.merge is not None:
        neighbours = torus_neighbours(gmm.components) if options.merge == "grid" else None
        new = merge_ward(gmm.loc.detach(), gmm.log_weights.detach().exp(), clusters, neighbours)
        labels = new[assigned.labels]
        compared = _compare(sample, name, labels, new[named.labels])
        _save_pictures(sample, labels, options.nearest, "_merged", data.class_names)
        _print_table(compared.methods, f"{name} merged to {clusters} clusters ({options.merge})")
        result["merged"] = {
            "merge": options.merge,
            "components": new.tolist(),
            **compared.methods[name],
            **asdict(compared),
        }


def _check(options: ClusterOptions) -> None:
    choices = {
        "split": (options.split, ("test", "train")),
        "space": (options.space, ("pixels", "responsibilities")),
        "merge": (options.merge, (None, "ward", "grid")),
    }
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            listed = ", ".join("null" if choice is None else choice for choice in allowed)
            raise UserError(f"cluster.{key}={value} is unknown; choose {listed}")
    least = {"count": (options.count, 2), "classes": (options.classes, 1), "nearest": (options.nearest, 1)}
    for key, (number, lowest) in {**least, "training": (options.training, 0)}.items():
        if number is not None and number < lowest:
            raise UserError(f"cluster.{key} must be at least {lowest}, not {number}")
    if options.classes is not None and options.merge is None:
        raise UserError(f"cluster.classes={options.classes} is for merging: give cluster.merge=ward or grid as well")


def choose_position(model: DCGMM, layer: str | None, position: list[int] | None) -> tuple[str, GMM, tuple[int, int]]:
    """Name, layer and (row, column) of the position that clusters the images.

    Raises:
        UserError: there is no such layer or position, or the layer has several and none is given.
    """
    name = layer or list(model.gmms)[-1]
    if name not in model.gmms:
        raise UserError(f"cluster.layer={name} is unknown; choose {', '.join(model.gmms)}")
    gmm = model.gmms[name]
    height, width = gmm.output_shape.height, gmm.output_shape.width
    if position is None:
        if (height, width) == (1, 1):
            return name, gmm, (0, 0)
        single = [other for other, g in model.gmms.items() if g.output_shape.height * g.output_shape.width == 1]
        hint = f", or cluster.layer={single[-1]}, which has one" if single else ""
        raise UserError(
            f"{name} has {height}x{width} positions, each with a cluster of its own: choose one, as in "
            f"cluster.position=[{height // 2},{width // 2}]{hint}"
        )
    if len(position) != 2 or not (0 <= position[0] < height and 0 <= position[1] < width):
        given = ",".join(map(str, position))
        raise UserError(
            f"cluster.position=[{given}] is not in {name}: give [row,column], from [0,0] to [{height - 1},{width - 1}]"
        )
    return name, gmm, (position[0], position[1])


def draw(data: ImageData, options: ClusterOptions, seed: int) -> tuple[Split, Split]:
    """Images to cluster, and training images, none of them among the former, that name the clusters.

    Raises:
        UserError: there are fewer than two images to cluster.
    """
    parts = {
        split: part[torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))]
        for split, part in (("test", data.test), ("train", data.train))
    }
    images = parts[options.split][: options.count]
    if len(images) < 2:
        raise UserError(
            f"{data.name} has {len(images)} {options.split} images, too few to cluster: "
            "choose cluster.split=train, or train with more images or a dataset.holdout"
        )
    rest = parts["train"][len(images) :] if options.split == "train" else parts["train"]
    return images, rest[: options.training]


@torch.no_grad()
def assign(model: DCGMM, layer: str, position: tuple[int, int], images: Tensor) -> Assigned:  # (N, H, W, C)
    """Most likely component, and responsibilities, of a layer at a position, for each image; on the CPU."""
    row, column = position
    scores = [torch.empty(0, model.gmms[layer].components)]
    for batch in image_batches(images, BATCH, model.dtype):
        scored = model.score(batch.to(model.device))[layer]
        scores.append(scored.component_scores[:, row, column].cpu())
    joined = torch.cat(scores)
    return Assigned(joined.argmax(-1), joined.softmax(-1))


def _compare(
    sample: _Sample,
    name: str,
    labels: Tensor,  # (N,)
    named: Tensor,  # (T,), clusters of the training images
) -> _Compared:
    """Judge a clustering of the sample, and the other methods with as many clusters on the same images."""
    training = (named, sample.training.labels) if len(named) else None
    own = cluster_figures(sample.points, labels, sample.images.labels, training)
    if own["clusters"] == 1:
        log.warning("all %d images are in one cluster: figures of separation are not defined", len(labels))
    compared = _Compared({name: own}, [])
    for peer, method in PEERS.items():
        found, converged = _fit(method, sample.points, own["clusters"], sample.seed)
        compared.methods[peer] = cluster_figures(sample.points, found, sample.images.labels)
        if not converged:
            compared.unconverged.append(peer)
            log.warning("%s did not converge, or found fewer than %d clusters", peer, own["clusters"])
    return compared


def _fit(
    method: Callable[[Tensor, int, int], Tensor], points: Tensor, clusters: int, seed: int
) -> tuple[Tensor, bool]:  # (N,)
    """Labels, and whether the method converged without scikit-learn's complaint."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        labels = method(points, clusters, seed)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return labels, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _save_pictures(sample: _Sample, labels: Tensor, nearest: int, suffix: str, class_names: tuple[str, ...]) -> None:
    figures = sample.directory / "figures"
    rows = nearest_to_means(sample.points, labels, nearest)
    sizes = [int((labels == label).sum()) for label in rows]
    save_figure(_image_rows(sample.images.images, rows, sizes, nearest), figures / f"clusters{suffix}.png")
    names = [class_names[label] for label in sample.images.labels.unique().tolist()]
    matrix = _class_matrix(contingency_matrix(labels, sample.images.labels), list(rows), names)
    save_figure(matrix, figures / f"classes{suffix}.png")


def _image_rows(images: Tensor, rows: dict[int, Tensor], sizes: list[int], columns: int) -> Figure:
    """A row of images a cluster; a cluster with fewer images leaves the rest of its row grey."""
    float_images = picture(to_float(images, torch.float32))
    cells = torch.full((len(rows), columns, *float_images.shape[1:]), 0.5)
    for line, chosen in zip(cells, rows.values(), strict=True):
        line[: len(chosen)] = float_images[chosen]
    sheet = tile(cells.flatten(0, 1), columns)
    height, width = 0.42 * len(rows), 0.42 * columns
    figure = Figure(figsize=(width + 1.6, height + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
    step = cells.shape[2] + 1
    texts = [f"{label}: {size} image{'s' * (size != 1)}" for label, size in zip(rows, sizes, strict=True)]
    axes.set_yticks([step * line + step / 2 for line in range(len(rows))], texts, fontsize=7)
    axes.set_xticks([])
    axes.tick_params(length=0)
    return figure


def _class_matrix(counts: Tensor, labels: list[int], names: list[str]) -> Figure:  # (M, G)
    """Images by cluster and class: the colour is the share of the cluster, the number counts images."""
    shares = counts / counts.sum(1, keepdim=True)
    figure = Figure(figsize=(0.5 * len(names) + 1.8, 0.24 * len(labels) + 1.4), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(counts.tolist()):
        for column, count in enumerate(line):
            if count:
                color = "white" if shares[row, column] > 0.6 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=6, color=color)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0, fontsize=7)
    axes.set_yticks(range(len(labels)), [str(label) for label in labels], fontsize=7)
    axes.set(xlabel="class", ylabel="cluster")
    figure.colorbar(shown, ax=axes, label="share of the cluster")
    return figure


def _print_table(methods: dict[str, ClusterFigures], title: str) -> None:
    """Figures down, methods across: there are more figures than fit side by side on a terminal."""
    table = Table(title=title)
    table.add_column("figure")
    for name in methods:
        table.add_column(name, justify="right")
    for key, label in COLUMNS.items():
        values = [dict(figures)[key] for figures in methods.values()]
        table.add_row(label, *("-" if value is None else f"{value:.4g}" for value in values))
    table.add_row("sizes", *(_span(figures["sizes"]) for figures in methods.values()))
    table.add_row("pairs at distance 0", *(str(figures["zero_pairs"] or 0) for figures in methods.values()))
    Console().print(table)


def _span(sizes: dict[str, int]) -> str:
    return f"{min(sizes.values())} to {max(sizes.values())}"
