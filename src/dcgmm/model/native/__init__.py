"""The hot passes of a GMM layer on a CPU, in `passes.cpp`.

They do what `GMM.step`, `Scored` and `Patches` say in tensors, for float32. Without a C++ compiler there is none of it,
and the tensors do all the work, two to eight times slower. Every array is checked before a pass is given its address.
"""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcgmm.errors import OptionError
from dcgmm.model.annealing import grid_side
from dcgmm.model.arrays import dense, in_place
from dcgmm.model.native.build import declare, library
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


# What each pass takes: shapes, whole numbers (l: long), floats, and addresses.
_PASSES = {
    "dcgmm_scores": "Siaaaaa",
    "dcgmm_summarise": "lliaaaa",
    "dcgmm_pull": "Siaaaaa",
    "dcgmm_step": "Siaaaaaaaaffaa",
    "dcgmm_sums": "Siaaaaaaaaaa",
    "dcgmm_update": "Silaaaaaaaaaaff",
}
_PARAMETERS = ("logits", "loc", "precision_sqrt")
_TYPES = {
    "S": ctypes.POINTER(_Shapes),
    "i": ctypes.c_int,
    "l": ctypes.c_long,
    "f": ctypes.c_float,
    "a": ctypes.c_void_p,
}


class _Layout(NamedTuple):
    """What a pass works on."""

    shapes: Any  # as the passes are given them
    features: int  # D
    maps: tuple[int, ...]  # (..., N, H, W, C)
    points: tuple[int, ...]  # (..., N, H', W', K)


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
    """constant_k + <linear_k, x> - <precision_k, x^2> / 2 for the patch at every position of a window.

    Raises:
        OptionError: an array is not of the shape above, float32, on the CPU.
    """
    layout = _layout(x.shape, (), window, len(constant))
    components = (len(constant), layout.features)
    given = (
        dense("x", x, layout.maps),
        dense("linear", linear, components),
        dense("precision", precision, components),
        dense("constant", constant, components[:1]),
    )
    result = given[0].new_empty(layout.points)
    _loaded().dcgmm_scores(layout.shapes, torch.get_num_threads(), *map(Tensor.data_ptr, given), result.data_ptr())
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
    if not scores.dim() or not scores.shape[-1]:
        raise OptionError("scores", "of one component or more", f"of shape {tuple(scores.shape)}")
    given = dense("scores", scores, scores.shape)
    result = given.new_empty(given.shape if which == 2 else given.shape[:-1])
    outputs = [result.data_ptr() if which == place else None for place in range(3)]
    components = given.shape[-1]
    points = given.numel() // components
    _loaded().dcgmm_summarise(points, components, torch.get_num_threads(), given.data_ptr(), *outputs)
    return result


def pull(
    x: Tensor,  # (N, H, W, C)
    window: Window,
    weights: Tensor,  # (N, H', W', K)
    linear: Tensor,  # (K, D)
    precision: Tensor,  # (K, D)
) -> Tensor:  # (N, H, W, C)
    """Gradient with respect to x of the weighted sum of `scores`.

    Raises:
        OptionError: an array is not of the shape above, float32, on the CPU.
    """
    layout = _layout(x.shape, (), window, len(linear))
    components = (len(linear), layout.features)
    given = (
        dense("x", x, layout.maps),
        dense("weights", weights, layout.points),
        dense("linear", linear, components),
        dense("precision", precision, components),
    )
    gradient = given[0].new_empty(layout.maps)
    _loaded().dcgmm_pull(layout.shapes, torch.get_num_threads(), *map(Tensor.data_ptr, given), gradient.data_ptr())
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
    """`GMM.step`: one step of SGD ascent; the objective and the responsibilities that it started from.

    Raises:
        OptionError: an array is not of the shape above, float32, on the CPU; K is no square; x is empty; or parameters
            are not contiguous.
    """
    batch, layout = parameters[0].shape[:-1], _step_layout(x, window, parameters)
    x = dense("x", x, layout.maps)
    logits, loc, root = _changed(parameters, layout)
    kernel, speeds = _kernel(kernel, parameters), _speeds(rates, batch)
    value = x.new_empty(batch)
    passed = x.new_empty(layout.points) if passes_on else None
    run, threads = _loaded().dcgmm_step, torch.get_num_threads()
    for model in range(value.numel()):
        run(
            *(layout.shapes, threads, _part(x, model, 4)),
            *(_part(logits, model, 1), _part(loc, model, 2), _part(root, model, 2), _part(kernel, model, 2)),
            *(_part(rate, model, 0) for rate in speeds),
            *(*limits, _part(passed, model, 4), _part(value, model, 0)),
        )
    return value, passed


def sums(
    x: Tensor,  # (..., N, H, W, C)
    window: Window,
    parameters: Sequence[Tensor],  # logits (..., K), loc (..., K, D), precision_sqrt (..., K, D)
    kernel: Tensor | None,  # (..., S, S), S = sqrt(K)
    *,
    passes_on: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor | None]:  # (...), (..., K), 2 (..., K, D); (..., N, H', W', K)
    """`GMM.sums`: the mean objective, and by winner how many points and their sums of x and x^2; the responsibilities.

    Raises:
        OptionError: as for `step`.
    """
    batch, layout = parameters[0].shape[:-1], _step_layout(x, window, parameters)
    x = dense("x", x, layout.maps)
    logits, loc, root = _changed(parameters, layout)
    kernel = _kernel(kernel, parameters)
    value, counts = x.new_empty(batch), torch.empty_like(logits)
    first, second = torch.empty_like(loc), torch.empty_like(loc)
    passed = x.new_empty(layout.points) if passes_on else None
    run, threads = _loaded().dcgmm_sums, torch.get_num_threads()
    for model in range(value.numel()):
        run(
            *(layout.shapes, threads, _part(x, model, 4), _part(logits, model, 1)),
            *(_part(loc, model, 2), _part(root, model, 2), _part(kernel, model, 2), _part(passed, model, 4)),
            *(_part(value, model, 0), _part(counts, model, 1), _part(first, model, 2), _part(second, model, 2)),
        )
    return (value, counts, first, second), passed


def update(
    found: Sequence[Tensor],  # (..., K), (..., K, D), (..., K, D): of 1, x and x^2 by winner, sums over
    points: int,
    parameters: Sequence[Tensor],  # logits (..., K), loc (..., K, D), precision_sqrt (..., K, D), changed in place
    kernel: Tensor | None,  # (..., S, S), S = sqrt(K)
    rates: Sequence[Tensor],  # (...) each, of the parameters
    limits: tuple[float, float],  # of precision_sqrt
) -> None:
    """`GMM.update`: the step that these sums give.

    Raises:
        OptionError: as for `step`.
    """
    batch, (components, features) = parameters[0].shape[:-1], parameters[1].shape[-2:]
    layout = _layout((0, 1, 1, features), (), Window((1, 1), (1, 1)), components)  # of no points
    changed, kernel, speeds = _changed(parameters, layout), _kernel(kernel, parameters), _speeds(rates, batch)
    named = zip(("counts", "first", "second"), found, parameters, strict=True)
    given = [dense(name, each, like.shape) for name, each, like in named]
    run, threads = _loaded().dcgmm_update, torch.get_num_threads()
    for model in range(batch.numel()):
        run(
            *(layout.shapes, threads, points),
            *(_part(each, model, size) for each, size in zip(given, (1, 2, 2), strict=True)),
            *(_part(each, model, size) for each, size in zip(changed, (1, 2, 2), strict=True)),
            *(_part(kernel, model, 2), *(_part(rate, model, 0) for rate in speeds), *limits),
        )


def _step_layout(x: Tensor, window: Window, parameters: Sequence[Tensor]) -> _Layout:
    """What a step works on; OptionError where x has too few dimensions, or is empty."""
    batch, components = parameters[0].shape[:-1], parameters[0].shape[-1]
    layout = _layout(x.shape, batch, window, components)
    if not layout.points[len(batch)]:
        raise OptionError("x", "of at least one sample", "empty")
    return layout


def _changed(parameters: Sequence[Tensor], layout: _Layout) -> list[Tensor]:
    """A layer's parameters, as passes write them."""
    own = parameters[0].shape
    shapes = (own, *[(*own, layout.features)] * 2)
    return [in_place(*given) for given in zip(_PARAMETERS, parameters, shapes, strict=True)]


def _kernel(kernel: Tensor | None, parameters: Sequence[Tensor]) -> Tensor | None:
    *batch, components = parameters[0].shape
    side = grid_side(components)
    return None if kernel is None else dense("kernel", kernel, (*batch, side, side))


def _speeds(rates: Sequence[Tensor], batch: tuple[int, ...]) -> list[Tensor]:
    return [dense(f"rates.{name}", rate, batch) for name, rate in zip(_PARAMETERS, rates, strict=True)]


@functools.lru_cache(maxsize=256)
def _layout(given: tuple[int, ...], batch: tuple[int, ...], window: Window, components: int) -> _Layout:
    """What a pass works on that is given maps of this shape for models of this batch_shape.

    Raises:
        InputError: there are too few dimensions, or the window does not fit the maps.
    """
    if len(given) != len(batch) + 4:
        raise OptionError("x", f"of {len(batch) + 4} dimensions, {(*batch, 'N', 'H', 'W', 'C')}", tuple(given))
    samples, height, width, channels = given[-4:]
    positions = window.positions(height, width)
    shapes = _Shapes(samples, height, width, channels, *window.kernel, *window.stride, *positions, components)
    features = window.kernel[0] * window.kernel[1] * channels
    points = (*batch, samples, *positions, components)
    return _Layout(ctypes.pointer(shapes), features, (*batch, *given[-4:]), points)


def _part(tensor: Tensor | None, model: int, dimensions: int) -> int | None:
    """Where one model's part of a tensor begins, of so many dimensions behind the batch_shape."""
    if tensor is None:
        return None
    size = tensor.shape[tensor.dim() - dimensions :].numel() if model else 0
    return tensor.data_ptr() + model * size * tensor.element_size()


@functools.cache
def _loaded() -> ctypes.CDLL:
    loaded = library(SOURCE)
    assert loaded is not None
    return declare(loaded, _PASSES, _TYPES)
