"""The passes of a factor-analysing GMM layer on a CPU, in `factors.cpp`.

They do what the functions of the same names in `model.factors`, and a step of `FactorGMM`, say in tensors, for float32
and one model.

Shapes: P points, K components, D features, L factors; factors are rows (L, K, D).
"""

import ctypes
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dcgmm.model import native
from dcgmm.model.native.build import library

SOURCE = Path(__file__).with_name("factors.cpp")


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("points", "components", "features", "factors")]


class _Rates(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_float) for name in ("loc", "precision_sqrt", "factors", "least", "most", "factor_floor")
    ]


def takes(*tensors: Tensor) -> bool:
    """Whether the passes can work on these: what `native.takes`, and these passes could be compiled too."""
    return native.takes(*tensors) and library(SOURCE) is not None


def factor_parameters(
    loc: Tensor,  # (K, D)
    precision_sqrt: Tensor,  # (K, D)
    rows: Tensor,  # (L, K, D)
) -> tuple[Tensor, Tensor, Tensor]:  # (L, K), (K,), (K, L, L)
    """G^T mu, log det M and M^-1; NaN where M is not positive definite."""
    sizes = _sizes(0, rows)
    offset = rows.new_empty(sizes.factors, sizes.components)
    log_det = rows.new_empty(sizes.components)
    inverse = rows.new_empty(sizes.components, sizes.factors, sizes.factors)
    given = [each.contiguous() for each in (loc, precision_sqrt, rows)] + [offset, log_det, inverse]
    _loaded().dcgmm_factor_parameters(ctypes.byref(sizes), torch.get_num_threads(), *map(_address, given))
    return offset, log_det, inverse


def add_factors(
    scores: Tensor,  # (P, K), of the diagonal Gaussians
    products: Iterable[Tensor],  # (p, L K) each, of the rows with one block of points after the other
    rows: Tensor,  # (L, K, D)
    offset: Tensor,  # (L, K)
    log_det: Tensor,  # (K,)
) -> Tensor:  # (P, K)
    """Scores with the part of the factors, 1/2 |z|^2 + 1/2 log det M with z = products - offset."""
    added = scores.clone(memory_format=torch.contiguous_format)
    offset, log_det = offset.contiguous(), log_det.contiguous()
    start = 0
    for block in products:
        part, sizes = added[start : start + len(block)], _sizes(len(block), rows)
        given = map(_address, (block.contiguous(), offset, log_det, part))
        _loaded().dcgmm_add_factors(ctypes.byref(sizes), torch.get_num_threads(), *given)
        start += len(block)
    return added


def ascend(
    x: Tensor,  # (P, D)
    winner: Tensor,  # (P,), long
    scores: Tensor,  # (P, K), of the diagonal Gaussians
    parameters: Sequence[Tensor],  # loc (K, D), precision_sqrt (K, D) and rows (L, K, D), changed in place
    described: Sequence[Tensor],  # offset (L, K), log det M (K,) and M^-1 (K, L, L), of the parameters
    rates: Sequence[Tensor],  # (), of loc, precision_sqrt and factors
    limits: tuple[float, float],  # of precision_sqrt
    factor_floor: float,  # of the eigenvalues of M
) -> Tensor:  # (P,)
    """One step of SGD ascent of the components that win a point, and `project`; the others keep their bits.

    Returns the score that each point's winner had before, with its factors.
    """
    assert all(each.is_contiguous() for each in parameters)
    sizes = _sizes(len(x), parameters[-1])
    settings = _Rates(*map(float, rates), *limits, factor_floor)
    values = x.new_empty(len(x))
    given = [each.contiguous() for each in (x, winner, scores, *described)]
    changed = [*parameters, values]
    _loaded().dcgmm_ascend_factors(
        *(ctypes.byref(sizes), torch.get_num_threads(), *map(_address, given)),
        *(ctypes.byref(settings), *map(_address, changed)),
    )
    return values


def _sizes(points: int, rows: Tensor) -> _Sizes:
    factors, components, features = rows.shape
    return _Sizes(points, components, features, factors)


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _loaded() -> ctypes.CDLL:
    loaded = library(SOURCE)
    assert loaded is not None
    return loaded
