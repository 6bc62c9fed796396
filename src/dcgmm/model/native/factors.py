"""The passes of a factor-analysing GMM layer on a CPU, in `factors.cpp`.

They do what the functions of the same names in `model.factors`, and a step of `FactorGMM`, say in tensors, for float32
and one model. Every array is checked before a pass is given its address.

Shapes: P points, K components, D features, L factors; factors are rows (L, K, D).
"""

import ctypes
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.model import native
from dcgmm.model.arrays import dense, in_place
from dcgmm.model.native.build import declare, library

SOURCE = Path(__file__).with_name("factors.cpp")


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("points", "components", "features", "factors")]


class _Rates(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_float) for name in ("loc", "precision_sqrt", "factors", "least", "most", "factor_floor")
    ]


# What each pass takes: sizes, the number of threads, arrays, and rates.
_PASSES = {"dcgmm_factor_parameters": "Siaaaaaa", "dcgmm_add_factors": "Siaaaa", "dcgmm_ascend_factors": "Siaaaraaaa"}
_TYPES = {"S": ctypes.POINTER(_Sizes), "i": ctypes.c_int, "a": ctypes.c_void_p, "r": ctypes.POINTER(_Rates)}


def takes(*tensors: Tensor) -> bool:
    """Whether the passes can work on these: what `native.takes`, and these passes could be compiled too."""
    return native.takes(*tensors) and library(SOURCE) is not None


def factor_parameters(
    loc: Tensor,  # (K, D)
    precision_sqrt: Tensor,  # (K, D)
    rows: Tensor,  # (L, K, D)
) -> tuple[Tensor, Tensor, Tensor]:  # (L, K), (K,), (K, L, L)
    """G^T mu, log det M and M^-1; NaN where M is not positive definite.

    Raises:
        OptionError: an array is not of the shape above, float32, on the CPU.
    """
    factors, components, features = _sides(rows)
    given = (
        dense("loc", loc, (components, features)),
        dense("precision_sqrt", precision_sqrt, (components, features)),
        dense("rows", rows, (factors, components, features)),
    )
    shapes = ((factors, components), (components,), (components, factors, factors))
    offset, log_det, inverse = (given[0].new_empty(shape) for shape in shapes)
    _run("dcgmm_factor_parameters", 0, rows, *given, offset, log_det, inverse)
    return offset, log_det, inverse


def add_factors(
    scores: Tensor,  # (P, K), of the diagonal Gaussians
    products: Iterable[Tensor],  # (p, L K) each, of the rows with one block of points after the other
    rows: Tensor,  # (L, K, D)
    offset: Tensor,  # (L, K)
    log_det: Tensor,  # (K,)
) -> Tensor:  # (P, K)
    """Scores with the part of the factors, 1/2 |z|^2 + 1/2 log det M with z = products - offset.

    Raises:
        OptionError: an array is not of the shape above, float32, on the CPU; or products are of fewer points.
    """
    factors, components, _ = _sides(rows)
    added = dense("scores", scores, (len(scores), components)).clone()
    offset, log_det = dense("offset", offset, (factors, components)), dense("log_det", log_det, (components,))
    start = 0
    for block in products:
        part = added[start : start + len(block)]
        product = dense("products", block, (len(part), factors * components))
        _run("dcgmm_add_factors", len(part), rows, product, offset, log_det, part)
        start += len(block)
    if start != len(scores):
        raise OptionError("products", f"of {len(scores)} points, as scores", start)
    return added


def ascend(
    x: Tensor,  # (P, D)
    winner: Tensor,  # (P,), long
    scores: Tensor,  # (P, K), of the diagonal Gaussians
    parameters: Sequence[Tensor],  # loc (K, D), precision_sqrt (K, D) and rows (L, K, D), changed in place
    rates: Sequence[Tensor],  # (), of loc, precision_sqrt and factors
    limits: tuple[float, float],  # of precision_sqrt
    factor_floor: float,  # of the eigenvalues of M
) -> Tensor:  # (P,)
    """One step of SGD ascent of the components that win a point, and `project`; the others keep their bits.

    Returns the score that each point's winner had before, with its factors.

    Raises:
        OptionError: an array is not of the shape above, float32, on the CPU; a parameter is not contiguous; or a
            winner is no component.
    """
    loc, precision_sqrt, rows = parameters
    factors, components, features = _sides(rows)
    given = (
        dense("x", x, (len(x), features)),
        dense("winner", winner, (len(x),), torch.long),
        dense("scores", scores, (len(x), components)),
    )
    if len(x) and not 0 <= int(winner.min()) <= int(winner.max()) < components:
        raise OptionError("winner", f"from 0 to {components - 1}", [int(winner.min()), int(winner.max())])
    changed = (
        in_place("loc", loc, (components, features)),
        in_place("precision_sqrt", precision_sqrt, (components, features)),
        in_place("rows", rows, (factors, components, features)),
    )
    values = given[0].new_empty(len(x))
    settings = _Rates(*map(float, rates), *limits, factor_floor)
    _run("dcgmm_ascend_factors", len(x), rows, *given, settings, *changed, values)
    return values


def _sides(rows: Tensor) -> tuple[int, int, int]:
    if rows.dim() != 3 or not rows.numel():
        raise OptionError("rows", "of shape (L, K, D), none of them 0", f"of shape {tuple(rows.shape)}")
    factors, components, features = rows.shape
    return factors, components, features


def _run(name: str, points: int, rows: Tensor, *given: Tensor | _Rates) -> None:
    factors, components, features = rows.shape
    sizes = _Sizes(points, components, features, factors)
    values = [each.data_ptr() if isinstance(each, Tensor) else ctypes.byref(each) for each in given]
    getattr(_loaded(), name)(ctypes.byref(sizes), torch.get_num_threads(), *values)


@functools.cache
def _loaded() -> ctypes.CDLL:
    loaded = library(SOURCE)
    assert loaded is not None
    return declare(loaded, _PASSES, _TYPES)
