"""What all tests share: one thread, one place for tolerances, small tensors by seed."""

import os

# One thread a process, here and in those that tests start: what they compute is small, and they run side by side.
# Set before torch and numpy are imported, who read it then.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from typing import TypedDict

import pytest
import torch
from torch import Tensor

# Without a GPU, kernels run in Triton's interpreter, which they are told when Triton is imported first.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


class Tolerance(TypedDict):
    """How far two results may lie apart, for `torch.testing.assert_close`."""

    rtol: float
    atol: float


EXACT = Tolerance(rtol=0.0, atol=0.0)  # the same operations in the same order
ROUNDING = Tolerance(rtol=1e-11, atol=1e-11)  # float64, the same sums in another order or form
FLOAT32 = Tolerance(rtol=1e-5, atol=2e-3)  # float32 nats of a whole image, against float64


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped without a CUDA device."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in [0, 1), float64."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
