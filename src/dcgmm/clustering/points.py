"""What is given: points and labels, checked, as arrays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcgmm.errors import InputError

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]


def checked(points: Tensor, labels: Tensor) -> tuple[Floats, Integers]:
    """Points (N, F) and labels (N,), or a InputError that says what does not fit."""
    x, clusters = checked_points(points), checked_labels(labels, "labels")
    require_same_length(x, clusters, "points", "labels")
    return x, clusters


def checked_points(points: Tensor) -> Floats:
    """Points as float32, or float64 where float32 does not hold their values."""
    if points.ndim != 2 or points.numel() == 0:
        raise InputError(f"points of shape {tuple(points.shape)}: give samples x features, at least one of each")
    wide = points.dtype in (torch.float64, torch.int32, torch.int64)
    x: Floats = points.detach().cpu().to(torch.float64 if wide else torch.float32).numpy()
    if not np.isfinite(x).all():
        raise InputError("points with a value that is not finite (NaN or infinite): clusters need finite values")
    return x


def checked_labels(labels: Tensor, name: str) -> Integers:
    """Labels (N,) as 64-bit integers, or a InputError that calls them by their name."""
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise InputError(f"{name} of shape {tuple(labels.shape)} and type {labels.dtype}: give one integer a sample")
    return labels.detach().cpu().to(torch.int64).numpy()


def require_same_length(first: NDArray[Any], second: NDArray[Any], first_name: str, second_name: str) -> None:
    """A InputError where two arrays are not of the same samples."""
    if len(first) != len(second):
        raise InputError(f"{len(first)} {first_name} and {len(second)} {second_name}: give as many of both")


def require_two_clusters(labels: Integers, figure: str) -> None:
    """A InputError where a figure that compares clusters has only one."""
    if labels.min() == labels.max():
        raise InputError(
            f"all {len(labels)} samples are in one cluster (label {labels[0]}): {figure} needs at least 2; "
            "take more samples or another layer"
        )


def require_enough(x: Floats, clusters: int) -> None:
    """A InputError where there are fewer samples than clusters, or no cluster."""
    if not 1 <= clusters <= len(x):
        raise InputError(f"{clusters} clusters of {len(x)} samples: choose 1 to {len(x)} clusters, or more samples")
