"""Triton kernels of a GMM layer's passes, float32.

Each adds in one order: no atomics, so that a step repeats itself bit for bit. Sums over points are made a block of
points (a part) at a time, and the parts are added in their order.

Shapes: R models, the last axis of every grid; N samples, H W C of a map; P = N H' W' points; D = kh kw C features of a
patch; K components on a SIDE x SIDE grid, padded to KP, a power of two; BP points and BD features at a time.
"""

from dcgmm.model.fused.kernels.maps import contract_kernel, gather_kernel, pool_kernel
from dcgmm.model.fused.kernels.scoring import finish_kernel, scores_kernel
from dcgmm.model.fused.kernels.updating import sums_kernel, update_kernel

__all__ = [
    "contract_kernel",
    "finish_kernel",
    "gather_kernel",
    "pool_kernel",
    "scores_kernel",
    "sums_kernel",
    "update_kernel",
]
