"""Small clusterings, and plain ways to look at them."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

Matrix = NDArray[np.float64]


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def ints(*values: int) -> Tensor:
    return torch.tensor(values)


def distances(points: Tensor) -> Matrix:
    x = points.double().numpy()
    return np.stack([np.sqrt(((x - row) ** 2).sum(axis=1)) for row in x])


def same_partition(first: Tensor, second: NDArray[np.int64]) -> bool:
    return bool(adjusted_rand_score(first.numpy(), second) == 1.0)
