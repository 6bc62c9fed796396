"""Cumulative sums that repeat themselves."""

import torch
from torch import Tensor


def running_sums(values: Tensor) -> Tensor:  # (..., n)
    """Cumulative sums over the last axis, on a GPU also of one row in one order.

    There many blocks scan a single long row at once, and add in the order in which they come; of several rows each is
    scanned by one block.
    """
    return torch.stack([values, values]).cumsum(-1)[0] if values.device.type == "cuda" else values.cumsum(-1)
