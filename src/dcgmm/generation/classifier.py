"""A judge of images: a small convolutional classifier of real ones, whose features tell how images differ.

Legend: N images, H W pixels, C channels, D features, K classes. Trained on the CPU by one thread, from one generator:
the same images and seed give the same judge on the same machine, whatever number of threads it offers.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dcgmm.errors import InputError
from dcgmm.images import image_batches, to_float

FEATURES = 64
# All that a judge hangs on beside its images, its seed and this module's code.
CHANNELS, KERNEL, SLOPE, GRID, SIDE = (16, 32, 64), 3, 0.1, 4, 32
EPOCHS, BATCH, RATE, WARM_UP, LEAST_STEPS = 3, 64, 3e-3, 0.1, 150
RECIPE = (FEATURES, CHANNELS, KERNEL, SLOPE, GRID, SIDE, EPOCHS, BATCH, RATE, WARM_UP, LEAST_STEPS)
LIMIT = 20_000  # images that a judge is trained on, at most
LEAST_IMAGES, LEAST_SIDE = 100, 8


@dataclass(frozen=True)
class Examples:
    """Images that a judge is trained on."""

    images: Tensor  # (N, H, W, C) uint8 or float in [0, 1]
    labels: Tensor  # (N,) int64


@dataclass(frozen=True)
class Judge:
    """A classifier of real images by its parameters, whose features tell how other images differ from them.

    `dcgmm.judges.judge_of` trains one, and keeps it in the user's cache.

    Attributes:
        weights: parameters by name.
        labels: (K,) int64, in the order of the outputs.

    Examples:
        >>> import dcgmm
        >>> from dcgmm.judges import judge_of
        >>> train = dcgmm.datasets.load("mnist_sample").train
        >>> judge = judge_of("mnist_sample", train.images, train.labels)
        >>> judge.accuracy(train.images[:50], train.labels[:50]) > 0.9, judge.features(train.images[:5]).shape
        (True, torch.Size([5, 64]))
    """

    weights: dict[str, Tensor]
    labels: Tensor

    def to(self, device: torch.device) -> "Judge":
        """The judge with its parameters on a device."""
        moved = {name: value.to(device) for name, value in self.weights.items()}
        return replace(self, weights=moved, labels=self.labels.to(device))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:  # (N, H, W, C) -> (N, D)
        """Features (N, D) of images (N, H, W, C), uint8 or float; what lies outside [0, 1] is clamped."""
        batches = image_batches(images, 500, torch.float32, self.labels.device)
        return torch.cat([_features(self.weights, batch.clamp(0, 1)) for batch in batches])

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:  # (N, H, W, C), (N,)
        """Share of images (N, H, W, C) that are given their label (N,)."""
        found = self.labels[_logits(self.weights, self.features(images)).argmax(-1)]
        return float((found == labels.to(found.device)).double().mean())

    @property
    def digest(self) -> str:
        """Tells judges apart: distances by the same judge can be compared."""
        values = b"".join(value.detach().cpu().numpy().tobytes() for value in self.weights.values())
        return hashlib.sha256(values).hexdigest()[:12]


def examples_of(images: Tensor, labels: Tensor, limit: int = LIMIT) -> Examples:
    """The first images of each class, equally many of each as far as they go.

    Images that are held out are cut from the end, so that they are rarely among many, and the examples are the same
    whether or not some are.

    Raises:
        InputError: these images cannot train a judge.
    """
    classes = labels.unique().tolist()
    if len(classes) < 2:
        raise InputError(f"a judge of images needs labels of at least 2 classes, not {len(classes)}")
    if len(images) < LEAST_IMAGES or min(images.shape[1:3]) < LEAST_SIDE:
        height, width = images.shape[1:3]
        raise InputError(
            f"a judge needs {LEAST_IMAGES} labelled images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels to train on, "
            f"not {len(images)} of {height}x{width}"
        )
    each = -(-limit // len(classes))
    chosen = torch.cat([(labels == label).nonzero()[:each, 0] for label in classes])
    return Examples(images[chosen], labels[chosen])


def train_judge(examples: Examples, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Judge:
    """Train a classifier by cross-entropy with Adam, its rate rising shortly and then falling to 0.

    Args:
        examples: images with their labels.
        seed: of start values and the order of images.
        report: called with the number of steps done, and of all.
    """
    generator = torch.Generator().manual_seed(seed)
    labels, targets = examples.labels.cpu().unique(return_inverse=True)
    images = examples.images.cpu()
    weights = {
        name: _start(shape, generator).requires_grad_() for name, shape in shapes(images.shape[-1], len(labels)).items()
    }
    optimiser = torch.optim.Adam(weights.values())
    batch = min(BATCH, len(images))
    total = max(EPOCHS * (len(images) // batch), LEAST_STEPS)
    with _one_thread(), torch.enable_grad():
        for done, chosen in enumerate(_batches(len(images), batch, total, generator)):
            for group in optimiser.param_groups:
                group["lr"] = RATE * min((done + 1) / (WARM_UP * total), (total - done) / ((1 - WARM_UP) * total), 1.0)
            hidden = _features(weights, to_float(images[chosen], torch.float32))
            loss = F.cross_entropy(_logits(weights, hidden), targets[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if report is not None:
                report(done + 1, total)
    return Judge({name: value.detach() for name, value in weights.items()}, labels)


def shapes(channels: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a judge's parameters by name."""
    found: dict[str, tuple[int, ...]] = {}
    for index, (below, above) in enumerate(zip((channels, *CHANNELS), CHANNELS, strict=False)):
        found |= {f"convolution{index}": (above, below, KERNEL, KERNEL), f"convolution{index}_bias": (above,)}
    found |= {"hidden": (FEATURES, CHANNELS[-1] * GRID**2), "hidden_bias": (FEATURES,)}
    return found | {"output": (classes, FEATURES), "output_bias": (classes,)}


def _start(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """He's start values; biases are 0."""
    if len(shape) == 1:
        return torch.zeros(shape, dtype=torch.float32)
    return torch.randn(shape, generator=generator, dtype=torch.float32) * math.sqrt(2 / math.prod(shape[1:]))


def _batches(count: int, size: int, total: int, generator: torch.Generator) -> Iterator[Tensor]:
    """So many batches, each image once before one comes again."""
    given = 0
    while given < total:
        order = torch.randperm(count, generator=generator)
        for chosen in order[: count // size * size].split(size)[: total - given]:
            given += 1
            yield chosen


def _features(weights: dict[str, Tensor], images: Tensor) -> Tensor:  # (N, H, W, C) -> (N, D)
    x = images.permute(0, 3, 1, 2)
    height, width = x.shape[-2:]
    if max(height, width) > SIDE:  # larger images are judged by their averages: what a judge costs stays bounded
        x = F.adaptive_avg_pool2d(x, (min(height, SIDE), min(width, SIDE)))
    for index in range(len(CHANNELS)):
        name = f"convolution{index}"
        x = F.conv2d(x, weights[name], weights[f"{name}_bias"], padding=KERNEL // 2)
        x = F.leaky_relu(F.max_pool2d(x, 2, ceil_mode=True), SLOPE)
    x = F.adaptive_avg_pool2d(x, GRID).flatten(1)
    # Leaky, so that no feature is the same for all images.
    return F.leaky_relu(F.linear(x, weights["hidden"], weights["hidden_bias"]), SLOPE)


def _logits(weights: dict[str, Tensor], features: Tensor) -> Tensor:  # (N, D) -> (N, K)
    return F.linear(features, weights["output"], weights["output_bias"])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same whatever number of threads there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
