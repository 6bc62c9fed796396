"""Triton kernels of a GMM layer's passes, float32.

Each adds in one order: no atomics, so that a step repeats itself bit for bit. Sums over points are made by programs
that take some blocks of points each (a part), and the parts are added in their order.

Shapes: R models, each a stretch of the grid's first axis, the only one that may be long; N samples, H W C of a map;
P = N H' W' points; D = kh kw C features of a patch; K components on a SIDE x SIDE grid, padded to KP, a power of two;
BP points and BD features at a time.

Maps lie as `blocks.places` says, in values from one to the next: `size` of a map, `down` and `right` of a patch, `line`
of a row of pixels; `run` values of a patch's row are neighbours.
"""

import triton

if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 5):
    raise ImportError(f"Triton {triton.__version__}: 3.5 or later is needed")

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
