"""Corruptions of images, in the manner of MNIST-C, at one strength each.

Source: Mu & Gilmer, MNIST-C: A Robustness Benchmark for Computer Vision, 2019; implemented anew.

Shapes: N images, H W pixels.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor

Pixels = NDArray[np.float64]  # (N, H, W) in [0, 1]

NOISE = 0.2  # standard deviation
BLUR = 1.5  # that of the kernel, in pixels
BRIGHTNESS = 0.3  # added
LINES = 2  # white ones from edge to edge, a pixel wide
SHEAR = 0.5  # pixels to the side by pixels down
STRIPE = 4  # columns that are inverted, from the middle to the left


def noise(images: Pixels, generator: np.random.Generator) -> Pixels:
    """Gaussian noise on every pixel."""
    return images + generator.normal(0, NOISE, images.shape)


def blur(images: Pixels, generator: np.random.Generator) -> Pixels:
    """A Gaussian kernel over each image."""
    return np.asarray(gaussian_filter(images, (0, BLUR, BLUR)))


def brightness(images: Pixels, generator: np.random.Generator) -> Pixels:
    """All pixels brighter."""
    return images + BRIGHTNESS


def lines(images: Pixels, generator: np.random.Generator) -> Pixels:
    """Straight white lines, each from a random place of the left edge to one of the right edge."""
    count, height, width = images.shape
    ends = generator.uniform(0, height - 1, (count, LINES, 2))
    along = np.linspace(0, 1, width)
    rows = np.rint(ends[..., :1] * (1 - along) + ends[..., 1:] * along).astype(int)  # (N, LINES, W)
    lined = images.copy()
    lined[np.arange(count)[:, None, None], rows, np.arange(width)] = 1
    return lined


def shear(images: Pixels, generator: np.random.Generator) -> Pixels:
    """Rows shifted to the side, the more the farther from the middle."""
    middle = (images.shape[1] - 1) / 2
    matrix = np.array([[1, 0, 0], [0, 1, 0], [0, SHEAR, 1]])
    return np.asarray(affine_transform(images, matrix, offset=(0, 0, -SHEAR * middle), order=1))


def stripes(images: Pixels, generator: np.random.Generator) -> Pixels:
    """Some columns beside the middle inverted."""
    middle = images.shape[2] // 2
    striped = images.copy()
    striped[:, :, middle - STRIPE : middle] = 1 - striped[:, :, middle - STRIPE : middle]
    return striped


CORRUPTIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "noise": noise,
    "blur": blur,
    "brightness": brightness,
    "lines": lines,
    "shear": shear,
    "stripes": stripes,
}
STRENGTHS = {
    "noise": f"Gaussian, standard deviation {NOISE}",
    "blur": f"Gaussian, {BLUR} pixels",
    "brightness": f"{BRIGHTNESS} added",
    "lines": f"{LINES} white lines from edge to edge, a pixel wide",
    "shear": f"{SHEAR} pixels to the side a row",
    "stripes": f"{STRIPE} columns inverted",
}


def corrupted(name: str, images: Tensor, seed: int) -> Tensor:  # (N, H, W, 1) uint8 -> the same
    """Corrupted images; what leaves [0, 255] is cut.

    Example:
        >>> corrupted("brightness", torch.zeros(1, 2, 2, 1, dtype=torch.uint8), 0).flatten().tolist()
        [76, 76, 76, 76]
    """
    pixels = images[..., 0].numpy() / 255
    found = CORRUPTIONS[name](pixels, np.random.default_rng(seed)).clip(0, 1)
    return torch.from_numpy(np.rint(255 * found).astype(np.uint8)).unsqueeze(-1)
