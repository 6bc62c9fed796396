"""Figures of sample quality: diversity, memory of the training set, and how samples spread over its modes.

Legend: N images as rows of D pixel values in [0, 1], M training images, B bins. Distances are Euclidean, over all
pixels of an image. Everything is deterministic given the seed of its generator, the device and its threads.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError
from dcgmm.generation.cumulative import running_sums
from dcgmm.generation.frechet import FeatureReference
from dcgmm.images import to_float

ROWS = 4096  # images compared at a time
SIGNIFICANCE_Z = 1.959964  # two-sided 5% point of the standard normal


@dataclass(frozen=True)
class Bins:
    """Voronoi cells of k-means centres, and the share of training images in each."""

    centres: Tensor  # (B, D)
    counts: Tensor  # (B,), training images in each cell


@dataclass(frozen=True)
class Reference:
    """What images are judged against.

    Attributes:
        images: (M, D), training images.
        bins: Voronoi cells of them; None: there are fewer images than bins.
        duplicate_distance: two images closer than this are near-duplicates.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> train = dcgmm.datasets.load("mnist_sample", limit=100).train.images
        >>> generator = torch.Generator().manual_seed(0)
        >>> reference = dcgmm.generation.reference_of(train, bins=10, count=50, generator=generator)
        >>> reference.images.shape, int(reference.bins.counts.sum())
        (torch.Size([100, 784]), 100)
    """

    images: Tensor
    bins: Bins | None
    duplicate_distance: float


@dataclass(frozen=True)
class Quality:
    """Figures of a set of images.

    Attributes:
        count: N.
        diversity: mean distance of an image to its nearest neighbour among the N.
        near_duplicates: share of images with a neighbour closer than the reference's `duplicate_distance`.
        train_distance: mean distance of an image to its nearest training image.
        ndb: number of statistically different bins, of `bins`; None without bins.
        js: Jensen-Shannon divergence between the bins' shares of images and of training images (nats), or None.
        frechet: Fréchet distance to held-out images in the features of a judge; None without one. It is relative to
            that judge: not comparable with distances of another, nor with published ones.
        bins: B; 0 without bins.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> train = dcgmm.datasets.load("mnist_sample", limit=100).train.images
        >>> generator = torch.Generator().manual_seed(0)
        >>> reference = dcgmm.generation.reference_of(train, bins=10, count=50, generator=generator)
        >>> same = dcgmm.generation.judge(train[:1].expand(50, -1, -1, -1), reference)
        >>> same.count, same.near_duplicates, same.bins
        (50, 1.0, 10)
    """

    count: int
    diversity: float
    near_duplicates: float
    train_distance: float
    ndb: int | None
    js: float | None
    frechet: float | None
    bins: int


def rows(images: Tensor) -> Tensor:  # (N, ...) -> (N, D)
    """Images, uint8 or float, as rows of pixel values in [0, 1]; what lies outside is clamped, as in a picture."""
    return to_float(images.flatten(1), torch.float32).clamp(0, 1)


def nearest(
    x: Tensor,  # (N, D)
    others: Tensor | None = None,  # (M, D); None: the other rows of x
) -> tuple[Tensor, Tensor]:  # (N,), (N,)
    """Distance to the nearest row, and its index."""
    candidates = x if others is None else others
    norms = candidates.square().sum(-1)
    distance, index = [], []
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS]
        squared = torch.addmm(norms, part, candidates.mT, alpha=-2.0) + part.square().sum(-1, keepdim=True)
        if others is None:
            squared.diagonal(start)[: len(part)] = math.inf
        least, where = squared.min(-1)
        distance.append(least.clamp(min=0).sqrt())
        index.append(where)
    return torch.cat(distance), torch.cat(index)


def fit_bins(
    train: Tensor,  # (M, D)
    bins: int,
    generator: torch.Generator,  # on the CPU
    iterations: int = 30,
    limit: int = 5_000,
) -> Bins:
    """k-means cells of training images (Lloyd's algorithm from k-means++ centres); the counts are of all M.

    Args:
        train: training images.
        bins: B, the number of cells.
        generator: of the subset and the first centres.
        iterations: of Lloyd's algorithm, at most.
        limit: at most so many images, drawn at random, place the centres.

    Raises:
        InputError: there are fewer images than bins, or no bins.
    """
    if not 1 <= bins <= len(train):
        raise OptionError("bins", f"from 1 to {len(train)}, the number of training images", bins)
    chosen = torch.randperm(len(train), generator=generator)[:limit].to(train.device)
    points = train[chosen]
    centres = _first_centres(points, bins, generator)
    labels = torch.full((len(points),), -1, device=points.device)
    for _ in range(iterations):
        before, labels = labels, nearest(points, centres)[1]
        if torch.equal(before, labels):
            break
        # A product with the one-hot labels: unlike index_add it adds in the same order on every device.
        member = torch.nn.functional.one_hot(labels, bins).to(points.dtype)
        size = member.sum(0)
        centres = torch.where(size[:, None] > 0, (member.mT @ points) / size.clamp(min=1)[:, None], centres)
    return Bins(centres, _counts(train, centres))


def _first_centres(points: Tensor, bins: int, generator: torch.Generator) -> Tensor:
    """k-means++ (Arthur & Vassilvitskii, 2007): each centre is drawn in proportion to the squared distance to date."""
    uniform = torch.rand(bins, generator=generator, dtype=torch.float64).tolist()
    index, norms = [points.new_full((1,), int(uniform[0] * len(points)), dtype=torch.long)], points.square().sum(-1)
    squared = torch.full((len(points),), math.inf, dtype=torch.float64, device=points.device)
    for draw in uniform[1:]:
        centre = points[index[-1]][0]
        gap = norms - 2 * (points @ centre) + centre.square().sum()
        squared = torch.minimum(squared, gap.double().clamp(min=0))
        steps = running_sums(squared)
        index.append(torch.searchsorted(steps, draw * steps[-1:], right=True).clamp(max=len(points) - 1))
    return points[torch.cat(index)]


def _counts(x: Tensor, centres: Tensor) -> Tensor:
    return torch.bincount(nearest(x, centres)[1], minlength=len(centres))


def different_bins(
    counts: Tensor,  # (B,), images in each bin
    reference: Tensor,  # (B,), training images in each bin
) -> int:
    """NDB: bins whose shares differ at the 5% level by a two-proportion z-test (Richardson & Weiss, 2018)."""
    n, m = counts.sum().double(), reference.sum().double()
    pooled = (counts + reference).double() / (n + m)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
    gap = (counts.double() / n - reference.double() / m).abs()
    return int((gap > SIGNIFICANCE_Z * error).sum())


def jensen_shannon(counts: Tensor, reference: Tensor) -> float:  # (B,), (B,)
    """Jensen-Shannon divergence (KL(p|m) + KL(q|m)) / 2 with m = (p + q) / 2, of two sets of counts, in nats."""
    p, q = counts.double() / counts.sum(), reference.double() / reference.sum()
    middle = (p + q) / 2
    terms = torch.special.xlogy(p, p / middle) + torch.special.xlogy(q, q / middle)
    return float(0.5 * torch.where(middle > 0, terms, 0).sum())


def reference_of(train: Tensor, bins: int, count: int, generator: torch.Generator) -> Reference:
    """Reference for judging `count` images.

    The duplicate distance is half the median nearest-neighbour distance among `count` training images.

    Args:
        train: (M, H, W, C), uint8 or float.
        bins: B; of fewer training images there are no bins.
        count: number of images in a set that is judged.
        generator: on the CPU.

    Raises:
        InputError: fewer than 2 training images.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> train = dcgmm.datasets.load("mnist_sample", limit=100).train.images
        >>> generator = torch.Generator().manual_seed(0)
        >>> dcgmm.generation.reference_of(train, bins=10, count=50, generator=generator).bins.centres.shape
        torch.Size([10, 784])
    """
    flat = rows(train)
    if min(len(flat), count) < 2:
        raise InputError(f"figures of quality need at least 2 images, not {min(len(flat), count)}")
    drawn = flat[torch.randperm(len(flat), generator=generator)[:count].to(flat.device)]
    cells = fit_bins(flat, bins, generator) if bins <= len(flat) else None
    return Reference(flat, cells, 0.5 * float(nearest(drawn)[0].median()))


def judge(
    images: Tensor,  # (N, H, W, C), N >= 2
    reference: Reference,
    features: FeatureReference | None = None,
) -> Quality:
    """Figures of a set of images against training images, and by features (if they are given) against held-out ones.

    Args:
        images: (N, H, W, C), N >= 2, uint8 or float.
        reference: of training images.
        features: of held-out images; None leaves out the Fréchet distance.

    Examples:
        >>> import dcgmm
        >>> import torch
        >>> data = dcgmm.datasets.load("mnist_sample", limit=100)
        >>> generator = torch.Generator().manual_seed(0)
        >>> reference = dcgmm.generation.reference_of(data.train.images, bins=10, count=50, generator=generator)
        >>> new, negatives = (dcgmm.generation.judge(x, reference) for x in (data.test.images, 255 - data.test.images))
        >>> new.train_distance < negatives.train_distance, new.js < negatives.js
        (True, True)

    Source: Richardson & Weiss (2018), "On GANs and GMMs" (number of different bins).
    """
    flat = rows(images)
    gap, cells = nearest(flat)[0], reference.bins
    counts = None if cells is None else _counts(flat, cells.centres)
    return Quality(
        count=len(flat),
        diversity=float(gap.mean()),
        near_duplicates=float((gap < reference.duplicate_distance).double().mean()),
        train_distance=float(nearest(flat, reference.images)[0].mean()),
        ndb=None if counts is None or cells is None else different_bins(counts, cells.counts),
        js=None if counts is None or cells is None else jensen_shannon(counts, cells.counts),
        frechet=None if features is None else features.distance(images),
        bins=0 if cells is None else len(cells.centres),
    )
