"""The hot passes of a GMM layer on a CPU, in `passes.cpp`.

They do what `GMM.step`, `Scored` and `Patches` say in tensors, for float32. Without a C++ compiler there is none of it,
and the tensors do all the work, two to eight times slower.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dcgmm.model.native.build import library
from dcgmm.model.shapes import Window

SOURCE = Path(__file__).with_name("passes.cpp")


class _Shapes(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_long)
        for name in (
            *("samples", "height", "width", "channels", "kernel_height", "kernel_width"),
            *("stride_height", "stride_width", "rows", "columns", "components"),
        )
    ]


def takes(*tensors: Tensor) -> bool:
    """Whether the passes can work on these: float32 on a CPU, no gradients wanted, and there was a compiler."""
    return (
        not torch.is_grad_enabled()
        and all(each.dtype == torch.float32 and each.is_cpu for each in tensors)
        and library(SOURCE) is not None
    )


def scores(
    x: Tensor,  # (N, H, W, C)
    window: Window,
    linear: Tensor,  # (K, D)
    precision: Tensor,  # (K, D)
    constant: Tensor,  # (K,)
) -> Tensor:  # (N, H', W', K)
    """constant_k + <linear_k, x> - <precision_k, x^2> / 2 for the patch at every position of a window."""
    shapes = _shapes(x.shape, window, len(constant))
    result = x.new_empty(shapes.samples, shapes.rows, shapes.columns, shapes.components)
    given = [each.contiguous() for each in (x, linear, precision, constant)] + [result]
    _loaded().dcgmm_scores(ctypes.byref(shapes), torch.get_num_threads(), *map(_address, given))
    return result


def largest(scores: Tensor) -> Tensor:  # (..., K) -> (...)
    """The largest score of each row."""
    return _summarise(scores, 0)


def log_prob(scores: Tensor) -> Tensor:  # (..., K) -> (...)
    """log sum exp of each row."""
    return _summarise(scores, 1)


def responsibilities(scores: Tensor) -> Tensor:  # (..., K) -> (..., K)
    """softmax of each row."""
    return _summarise(scores, 2)


def _summarise(scores: Tensor, which: int) -> Tensor:
    given = scores.contiguous()
    result = torch.empty(scores.shape if which == 2 else scores.shape[:-1])
    outputs = [_address(result) if which == place else None for place in range(3)]
    components = scores.shape[-1]
    points = ctypes.c_long(given.numel() // components)
    _loaded().dcgmm_summarise(points, ctypes.c_long(components), torch.get_num_threads(), _address(given), *outputs)
    return result


def pull(
    x: Tensor,  # (N, H, W, C)
    window: Window,
    weights: Tensor,  # (N, H', W', K)
    linear: Tensor,  # (K, D)
    precision: Tensor,  # (K, D)
) -> Tensor:  # (N, H, W, C)
    """Gradient with respect to x of the weighted sum of `scores`."""
    shapes = _shapes(x.shape, window, len(linear))
    gradient = torch.empty(x.shape)
    given = [each.contiguous() for each in (x, weights, linear, precision)] + [gradient]
    _loaded().dcgmm_pull(ctypes.byref(shapes), torch.get_num_threads(), *map(_address, given))
    return gradient


def step(
    x: Tensor,  # (..., N, H, W, C)
    window: Window,
    parameters: Sequence[Tensor],  # logits (..., K), loc (..., K, D), precision_sqrt (..., K, D), changed in place
    kernel: Tensor | None,  # (..., S, S), S = sqrt(K)
    rates: Sequence[Tensor],  # (...) each, of the parameters
    limits: tuple[float, float],  # of precision_sqrt
    *,
    passes_on: bool,
) -> tuple[Tensor, Tensor | None]:  # (...), (..., N, H', W', K)
    """`GMM.step`: one step of SGD ascent; the objective and the responsibilities that it started from."""
    logits, loc, precision_sqrt = parameters
    assert all(each.is_contiguous() for each in parameters)
    x, kernel = x.contiguous(), None if kernel is None else kernel.contiguous()
    shapes = _shapes(x.shape, window, logits.shape[-1])
    value = x.new_empty(logits.shape[:-1])
    passed = x.new_empty(*x.shape[:-3], shapes.rows, shapes.columns, shapes.components) if passes_on else None
    threads, least, most = torch.get_num_threads(), ctypes.c_float(limits[0]), ctypes.c_float(limits[1])
    for model in range(value.numel()):
        _loaded().dcgmm_step(
            *(ctypes.byref(shapes), threads, _part(x, model, 4)),
            *(_part(logits, model, 1), _part(loc, model, 2), _part(precision_sqrt, model, 2), _part(kernel, model, 2)),
            *(_part(rate, model, 0) for rate in rates),
            *(least, most, _part(passed, model, 4), _part(value, model, 0)),
        )
    return value, passed


def _shapes(given: Sequence[int], window: Window, components: int) -> _Shapes:
    map_shape = given[-4:]
    return _Shapes(*map_shape, *window.kernel, *window.stride, *window.positions(*map_shape[1:3]), components)


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _part(tensor: Tensor | None, model: int, dimensions: int) -> ctypes.c_void_p | None:
    """Where one model's part of a tensor begins, of so many dimensions behind the batch_shape."""
    if tensor is None:
        return None
    size = tensor.shape[tensor.dim() - dimensions :].numel()
    return ctypes.c_void_p(tensor.data_ptr() + model * size * tensor.element_size())


def _loaded() -> ctypes.CDLL:
    loaded = library(SOURCE)
    assert loaded is not None
    return loaded
