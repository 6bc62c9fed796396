"""`dcgmm cluster`: judge a layer's most likely components as clusters of images, beside other methods."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from dcgmm.clustering import (
    ClusterFigures,
    Compared,
    assign,
    compare,
    contingency_matrix,
    merge_ward,
    nearest_to_means,
    torus_neighbours,
)
from dcgmm.clustering.assignment import choose_position
from dcgmm.clustering.options import ClusterOptions, Merge, Part, Space
from dcgmm.datasets import ImageData, Split
from dcgmm.errors import InputError
from dcgmm.images import to_float
from dcgmm_cli.figures.base import save_figure
from dcgmm_cli.figures.cluster import class_matrix, image_rows
from dcgmm_cli.job import Job
from dcgmm_cli.schema import ClusterConfig
from dcgmm_cli.terminal import print_table
from dcgmm_cli.trained import open_run

log = logging.getLogger(__name__)

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
class _Sample:
    """The images that are clustered, and others that name the clusters."""

    images: Split
    training: Split
    points: Tensor  # (N, F), what distances are taken in
    class_names: tuple[str, ...]


def run(config: ClusterConfig, job: Job) -> None:
    """Judge the run's model as a clustering: tables, pictures, figures.

    Raises:
        InputError: a value of the configuration cannot be, or there are no such images, run, layer or position.
    """
    options = config.cluster
    if options.classes is not None and options.merge is None:
        raise InputError(f"cluster.classes={options.classes} is for merging: give cluster.merge=ward or grid as well")
    opened = open_run(config, job)
    model = opened.model
    name, position = choose_position(model, options.layer, options.position)
    gmm, data = model.gmms[name], opened.data()
    images, training = draw(data, options, config.seed)
    clusters = options.classes or len(images.labels.unique())
    if options.merge is not None and clusters > gmm.components:
        raise InputError(
            f"{name} has {gmm.components} components, which cannot be merged to {clusters} clusters: "
            f"give cluster.classes, 1 to {gmm.components}, or leave out cluster.merge"
        )
    assigned, named = (assign(model, part.images, name, position) for part in (images, training))
    pixels = options.space is Space.pixels
    points = to_float(images.images, torch.float32).flatten(1) if pixels else assigned.responsibilities
    sample = _Sample(images, training, points.to(model.device), data.class_names)
    log.info("clustering %d %s images of %s by %s at %s", len(images), options.split, data.name, name, position)

    compared = _compare(sample, name, assigned.labels, named.labels, config.seed)
    _save_pictures(sample, assigned.labels, options.nearest, job.directory / "figures")
    title = f"{len(images):,} {options.split} images of {data.name}, distances in {options.space}"
    _print_table(compared.methods, title)
    job.result.update(compared.methods[name])
    job.result.update(layer=name, position=list(position), components=gmm.components, space=options.space.value)
    job.result.update(split=options.split.value, images=len(images), training_images=len(training))
    job.result.update(asdict(compared))
    if options.merge is not None:
        neighbours = torus_neighbours(gmm.components) if options.merge is Merge.grid else None
        own = () if gmm.shared else position
        new = merge_ward(gmm.loc.detach()[own], gmm.log_weights.detach().exp()[own], clusters, neighbours)
        labels = new[assigned.labels]
        compared = _compare(sample, name, labels, new[named.labels], config.seed)
        _save_pictures(sample, labels, options.nearest, job.directory / "figures", "_merged")
        _print_table(compared.methods, f"{name} merged to {clusters} clusters ({options.merge})")
        merged = {"merge": options.merge.value, "components": new.tolist()}
        job.result["merged"] = merged | compared.methods[name] | asdict(compared)


def draw(data: ImageData, options: ClusterOptions, seed: int) -> tuple[Split, Split]:
    """Images to cluster, and training images, none of them among the former, that name the clusters.

    Raises:
        InputError: there are fewer than two images to cluster.
    """
    parts = {
        split: part[torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))]
        for split, part in ((Part.test, data.test), (Part.train, data.train))
    }
    images = parts[options.split][: options.count]
    if len(images) < 2:
        raise InputError(
            f"{data.name} has {len(images)} {options.split} images, too few to cluster: "
            "choose cluster.split=train, or train with more images or a dataset.holdout"
        )
    rest = parts[Part.train][len(images) :] if options.split is Part.train else parts[Part.train]
    return images, rest[: options.training]


def _compare(sample: _Sample, name: str, labels: Tensor, named: Tensor, seed: int) -> Compared:  # (N,), (T,)
    """The clustering beside other methods; what their figures cannot say is logged."""
    training = (named, sample.training.labels) if len(named) else None
    compared = compare(name, sample.points, labels, sample.images.labels, training, seed)
    clusters = compared.methods[name]["clusters"]
    if clusters == 1:
        log.warning("all %d images are in one cluster: figures of separation are not defined", len(labels))
    for peer in compared.unconverged:
        log.warning("%s did not converge, or found fewer than %d clusters", peer, clusters)
    return compared


def _save_pictures(sample: _Sample, labels: Tensor, nearest: int, figures: Path, suffix: str = "") -> None:
    rows = nearest_to_means(sample.points, labels, nearest)
    sizes = [int((labels == label).sum()) for label in rows]
    save_figure(image_rows(sample.images.images, rows, sizes, nearest), figures / f"clusters{suffix}.png")
    names = [sample.class_names[label] for label in sample.images.labels.unique().tolist()]
    matrix = class_matrix(contingency_matrix(labels, sample.images.labels), list(rows), names)
    save_figure(matrix, figures / f"classes{suffix}.png")


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
    print_table(table)


def _span(sizes: dict[str, int]) -> str:
    return f"{min(sizes.values())} to {max(sizes.values())}"
