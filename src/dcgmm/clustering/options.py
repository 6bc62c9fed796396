"""What a clustering of images by a model is, and what it is judged in."""

from dataclasses import dataclass
from enum import StrEnum

from dcgmm.options import Options, option, whole


class Part(StrEnum):
    """Parts of a data set."""

    test = "test"
    train = "train"


class Space(StrEnum):
    """What distances between images are taken in."""

    pixels = "pixels"
    responsibilities = "responsibilities"


class Merge(StrEnum):
    """Which components may be merged."""

    ward = "ward"
    grid = "grid"


@dataclass
class ClusterOptions(Options):
    """Which images are clustered, by what, and what the clustering is judged in."""

    count: int | None = option(
        1000,
        "images, drawn by the seed, at most as many as there are; 1000 as for Table 2; null: all",
        whole(least=2),
    )
    split: Part = option(Part.test, "images they are drawn from: test or train")
    space: Space = option(
        Space.pixels, "what distances are taken in: pixels or responsibilities (of the layer, at its position)"
    )
    layer: str | None = option(None, "GMM layer whose most likely component is the cluster, as in gmm1; null: the last")
    position: list[int] | None = option(
        None, "[row, column] of the layer's positions, from 0; needed where it has several"
    )
    merge: Merge | None = option(
        None, "components to merge to fewer clusters: ward (any two), grid (neighbours); null: none"
    )
    classes: int | None = option(
        None, "clusters that are left by merging; null: as many as the images have classes", whole(least=1)
    )
    training: int = option(
        10000, "training images that name the clusters for accuracy by majority; 0 leaves it out", whole(least=0)
    )
    nearest: int = option(10, "images shown a cluster, those nearest to its mean", whole(1, 1000))


# Figures of a clustering, and of which more is better.
HIGHER_IS_BETTER = {
    "dunn": True,
    "dunn_without_duplicates": True,
    "dunn_centroid": True,
    "davies_bouldin": False,
    "silhouette": True,
    "calinski_harabasz": True,
    "nmi": True,
    "adjusted_rand": True,
    "purity": True,
    "accuracy": True,
    "majority_accuracy": True,
}
